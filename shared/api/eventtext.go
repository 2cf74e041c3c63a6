package api

import "slices"

// Translation is what an event is called, and what there is to say of it, in another language.
type Translation struct {
	Language    string `json:"language" pattern:"^[a-z]{2,3}$"`         // ISO 639, such as fr
	Name        string `json:"name" minLength:"1" maxLength:"200"`      // on one line
	Description string `json:"description,omitempty" maxLength:"20000"` // several lines of plain text
	// for those who do not see the picture; absent: as in the event itself
	ImageAlt string `json:"image_alt,omitempty" maxLength:"500"`
}

// In returns the event with name and description as readers of a language get them: in that language if they are
// there, otherwise as they are.
func (e *Event) In(language string) *Event {
	i := slices.IndexFunc(e.Translations, func(t Translation) bool { return t.Language == language })
	if i < 0 {
		return e
	}
	in := *e
	in.Name = e.Translations[i].Name
	if text := e.Translations[i].Description; text != "" {
		in.Description = text
	}
	if alt := e.Translations[i].ImageAlt; alt != "" && in.Image.ID != "" {
		in.Image.Alt = alt
	}
	return &in
}
