package api

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/picture"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/settings"
)

// Picture is a picture that was uploaded, in three sizes. It never changes: another one has other addresses.
type Picture struct {
	ID string `json:"id"` // of no other picture
	// what people read, or hear, who do not see it; that of a logo is the organizer's name
	Alt    string      `json:"alt,omitempty" maxLength:"500"`
	Color  string      `json:"color"`  // the average, such as #8a5c2e, until it is loaded
	Small  PictureFile `json:"small"`  // 480 pixels wide, a logo 96, or as wide as what was sent
	Medium PictureFile `json:"medium"` // 960 pixels wide, a logo 192, or as wide as what was sent
	Large  PictureFile `json:"large"`  // 1,600 pixels wide, a logo 384, or as wide as what was sent
}

// PictureFile is a picture in one of its sizes.
type PictureFile struct {
	URL    string `json:"url"`    // the path on this server; anybody may load it
	Width  int    `json:"width"`  // in pixels
	Height int    `json:"height"` // in pixels
}

// Files returns the files that differ, the smallest first.
func (p *Picture) Files() []PictureFile {
	files := []PictureFile{p.Small}
	for _, f := range []PictureFile{p.Medium, p.Large} {
		if f.Width > files[len(files)-1].Width {
			files = append(files, f)
		}
	}
	return files
}

// MediaPath begins the addresses of files that are kept by package media.
const MediaPath = "/media/"

// NewEventImage is the request of PutEventImage.
type NewEventImage struct {
	ID ids.Event `json:"-" path:"id"`
	// which dates of its series have the picture; those that are over or cancelled stay as they are
	Scope string `json:"-" query:"scope" enum:"this,later,all" default:"this"`
	// what people read, or hear, who do not see the picture: 1 to 500 characters
	Alt  string `json:"-" query:"alt" required:"true"`
	Data []byte `json:"-" body:"raw"` // a JPEG, PNG or WebP file
}

// EventImageRef names the picture of an event.
type EventImageRef struct {
	ID ids.Event `json:"-" path:"id"`
	// which dates of its series lose it; those that are over or cancelled stay as they are
	Scope string `json:"-" query:"scope" enum:"this,later,all" default:"this"`
}

// NewLogo is the request of PutLogo.
type NewLogo struct {
	ID   ids.Organizer `json:"-" path:"id"`
	Data []byte        `json:"-" body:"raw"` // a JPEG, PNG or WebP file
}

// pictureTimeout is longer than others: a picture is decoded and scaled when those before it are done.
const pictureTimeout = 25 * time.Second

// Bounds of how many pictures are on their way to an instance of the event service, and in its memory.
const (
	pictureWorkers = 1
	pictureQueue   = 4
)

const aboutPictures = "The body is a JPEG, PNG or WebP file of at most 7 MiB and 25 million pixels, whatever its " +
	"Content-Type says. It is turned upright and written anew in three sizes: where and with what it was taken is " +
	"not kept. The picture that it replaces goes after a day."

// The endpoints about pictures, which the event service serves.
var (
	PutEventImage = rpc.Endpoint[NewEventImage, Event]{Spec: rpc.Spec{Service: "event", Name: "set_image",
		Method: "PUT", Path: "/v1/events/{id}/image", Access: rpc.User, Audited: true, Raw: true,
		MaxBody: picture.MostBytes, Timeout: pictureTimeout, Workers: pictureWorkers, Queue: pictureQueue,
		OwnQueue: true,
		Summary:  "Give an event a picture", Detail: aboutPictures,
		Faults: forManagers(rpc.Faults{fault.Conflict: cancelled + "; " + fullOfPictures + "; or " + busyEvent,
			fault.RateLimited: tooManyPictures})}}
	DeleteEventImage = rpc.Endpoint[EventImageRef, rpc.None]{Spec: rpc.Spec{Service: "event", Name: "delete_image",
		Method: "DELETE", Path: "/v1/events/{id}/image", Access: rpc.User, Status: 204, Audited: true,
		Timeout: seriesTimeout,
		Summary: "Take the picture of an event away",
		Faults:  forManagers(rpc.Faults{fault.Conflict: cancelled + "; or " + busyEvent})}}
	PutLogo = rpc.Endpoint[NewLogo, Organizer]{Spec: rpc.Spec{Service: "event", Name: "set_logo",
		Method: "PUT", Path: "/v1/organizers/{id}/logo", Access: rpc.User, Audited: true, Raw: true,
		MaxBody: picture.MostBytes, Timeout: pictureTimeout, Workers: pictureWorkers, Queue: pictureQueue,
		OwnQueue: true,
		Summary:  "Give an organizer a logo",
		Detail: "Its page shows it. " + aboutPictures +
			" What is transparent stays so. People who do not see it are told the organizer's name.",
		Faults: forMembers(MayEditOrganizer, rpc.Faults{fault.Conflict: fullOfPictures,
			fault.RateLimited: tooManyPictures})}}
	DeleteLogo = rpc.Endpoint[OrganizerRef, rpc.None]{Spec: rpc.Spec{Service: "event", Name: "delete_logo",
		Method: "DELETE", Path: "/v1/organizers/{id}/logo", Access: rpc.User, Status: 204, Audited: true,
		Summary: "Take the logo of an organizer away",
		Faults:  forMembers(MayEditOrganizer, rpc.Faults{fault.Conflict: ""})}}
)

const (
	fullOfPictures  = "the organizer has as many pictures as it may"
	tooManyPictures = "too many requests, or too many pictures of the organizer today"
)

func pictureEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{PutEventImage.Describe(), DeleteEventImage.Describe(), PutLogo.Describe(),
		DeleteLogo.Describe()}
}

// How many pictures an organizer may have.
var (
	PicturesPerOrganizer = limit("event.pictures_per_organizer", 500,
		"Pictures that are uploaded for one organizer and its events in a day (UTC)")
	PicturesInAll = limit("event.pictures", 5000,
		"Pictures that one organizer and its events have, with those that are replaced and not gone yet")
)

func pictureSettings() []settings.Definition {
	return []settings.Definition{PicturesPerOrganizer, PicturesInAll}
}
