package codec

import (
	"encoding/json"
	"errors"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// prefix is that of the headers in these tests.
const prefix = "Http-"

type page struct {
	Limit  int    `json:"-" query:"limit" minimum:"1"`
	Cursor string `json:"-" query:"cursor"`
}

type item struct {
	TicketType ids.TicketType `json:"ticket_type_id"`
	Quantity   int            `json:"quantity"`
}

type everything struct {
	page
	ID      ids.Event         `json:"-" path:"id"`
	IfMatch string            `json:"-" header:"If-Match"`
	From    time.Time         `json:"-" query:"from"`
	Who     ids.User          `json:"-" query:"who"`
	On      *bool             `json:"-" query:"on"`
	Name    string            `json:"name"`
	Note    *string           `json:"note"`
	Items   []item            `json:"items,omitempty"`
	Start   time.Time         `json:"start,omitzero"`
	Labels  map[string]string `json:"labels,omitempty"`
	Lat     float64           `json:"lat,omitempty"`
	Yes     bool              `json:"yes,omitempty"`
	Small   int8              `json:"small,omitempty"`
	Next    *everything       `json:"next,omitempty"`
}

func everythingCodec(t testing.TB) *Request {
	t.Helper()
	p, err := NewRequest(reflect.TypeFor[everything](), Config{Path: "/x/{id}", HeaderPrefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var (
	goodEvent = string(ids.New[ids.EventKind](time.Now()))
	goodType  = string(ids.New[ids.TicketTypeKind](time.Now()))
)

func TestDecodeNamesWhatIsWrong(t *testing.T) {
	p := everythingCodec(t)
	path := "id=" + goodEvent
	for _, c := range []struct {
		params, body string
		code         fault.Code // "" means it decodes
		field        string
	}{
		{path, `{"name":"x"}`, "", ""},
		{path + "&limit=5&cursor=a%2Bb&on=true&from=2026-05-01T18%3A00%3A00Z", ` {"name":"x","items":[{"ticket_type_id":"` + goodType + `","quantity":2}],"labels":{"a":"b"}} `, "", ""},
		{path + "&limit=", `{"name":"x","note":null,"items":null}`, "", ""},
		{path, `{"n\u0061me":"x"}`, "", ""},
		{path, `{"name":"x","next":{"name":"y"}}`, "", ""},

		{path, "", fault.Invalid, ""},
		{path, "null", fault.Invalid, "body"},
		{path, "[]", fault.Invalid, "body"},
		{path, `"x"`, fault.Invalid, "body"},
		{path, `{"name":"x"}{}`, fault.Invalid, ""},
		{path, `{"name":"x"`, fault.Invalid, ""},
		{path, "{\"name\":\"\xff\"}", fault.Invalid, ""},
		{path, "{\"name\":\"a\nb\"}", fault.Invalid, ""},
		{path, strings.Repeat("[", 20000), fault.Invalid, ""},
		{path, `{"name":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`, fault.Invalid, "name"},
		{path, `{"name":"a\u0000b"}`, fault.Invalid, "name"},
		{path, `{"name":"x","labels":{"a\u0000":"b"}}`, fault.Invalid, "labels"},
		{path, `{"Name":"x"}`, fault.Invalid, "Name"},
		{path, `{"name":"x","name":"y"}`, fault.Invalid, "name"},
		{path, `{"name":"x","":1}`, fault.Invalid, ""},
		{path, `{"name":"x","admin":true}`, fault.Invalid, "admin"},
		{path, `{"name":"x","ID":"` + goodEvent + `"}`, fault.Invalid, "ID"},
		{path, `{"name":5}`, fault.Invalid, "name"},
		{path, `{"name":"x","items":{}}`, fault.Invalid, "items"},
		{path, `{"name":"x","items":["y"]}`, fault.Invalid, "items[0]"},
		{path, `{"name":"x","items":[{"quantity":1},{"quantity":1.5}]}`, fault.Invalid, "items[1].quantity"},
		{path, `{"name":"x","items":[{"quantity":99999999999999999999}]}`, fault.Invalid, "items[0].quantity"},
		{path, `{"name":"x","items":[{"ticket_type_id":"tty_>"}]}`, fault.Invalid, "items[0].ticket_type_id"},
		{path, `{"name":"x","items":[{"ticket_type_id":7}]}`, fault.Invalid, "items[0].ticket_type_id"},
		{path, `{"name":"x","items":[{"extra":1}]}`, fault.Invalid, "items[0].extra"},
		{path, `{"name":"x","start":"tomorrow"}`, fault.Invalid, "start"},
		{path, `{"name":"x","lat":1e999}`, fault.Invalid, "lat"},
		{path, `{"name":"x","yes":"true"}`, fault.Invalid, "yes"},
		{path, `{"name":"x","small":300}`, fault.Invalid, "small"},
		{path, `{"name":"x","labels":{"a":1}}`, fault.Invalid, "labels.a"},
		{path, `{"name":"x","labels":{"a":"1","a":"2"}}`, fault.Invalid, "labels.a"},

		{"id=evt_>", `{"name":"x"}`, fault.NotFound, ""},
		{"id=*", `{"name":"x"}`, fault.NotFound, ""},
		{"id=" + goodEvent + "%00", `{"name":"x"}`, fault.NotFound, ""},
		{"id=" + goodEvent + "%0d%0a", `{"name":"x"}`, fault.NotFound, ""},
		{"id=", `{"name":"x"}`, fault.NotFound, ""},
		{"id=%zz", `{"name":"x"}`, fault.NotFound, ""},
		{path + "&limit=0", `{"name":"x"}`, fault.Invalid, "limit"},
		{path + "&limit=ten", `{"name":"x"}`, fault.Invalid, "limit"},
		{path + "&limit=1&limit=2", `{"name":"x"}`, fault.Invalid, "limit"},
		{path + "&cursor=a%00", `{"name":"x"}`, fault.Invalid, "cursor"},
		{path + "&cursor=%ff", `{"name":"x"}`, fault.Invalid, "cursor"},
		{path + "&who=usr_*", `{"name":"x"}`, fault.Invalid, "who"},
		{path + "&on=1", `{"name":"x"}`, fault.Invalid, "on"},
		{path + "&from=now", `{"name":"x"}`, fault.Invalid, "from"},
		{path + "&nope=1", `{"name":"x"}`, fault.Invalid, "nope"},
		{path + "&name=y", `{"name":"x"}`, fault.Invalid, "name"},
	} {
		var req everything
		err := p.Decode(&req, Message{Params: c.params, Body: []byte(c.body)})
		body := c.body[:min(len(c.body), 60)]
		if c.code == "" {
			if err != nil {
				t.Errorf("%s %s: %v", c.params, body, err)
			} else if req.Name != "x" || req.ID.String() != goodEvent {
				t.Errorf("%s %s: decoded as %+v", c.params, body, req)
			}
			continue
		}
		if !fault.Is(err, c.code) {
			t.Errorf("%s %s: %v, want %s", c.params, body, err, c.code)
			continue
		}
		if f := fault.From(err); c.field != "" && (len(f.Fields) == 0 || f.Fields[0].Field != c.field) {
			t.Errorf("%s %s: fields %v, want %s", c.params, body, f.Fields, c.field)
		}
	}
}

func TestDecodeNamesAllThatIsWrong(t *testing.T) {
	var req everything
	err := everythingCodec(t).Decode(&req, Message{Params: "id=" + goodEvent, Body: []byte(`{"name":1,"what":2,"yes":3}`)})
	if f := fault.From(err); len(f.Fields) != 3 {
		t.Errorf("fields are %v, want three", f.Fields)
	}
}

func TestBodyWhereNoneBelongs(t *testing.T) {
	p, err := NewRequest(reflect.TypeFor[struct{}](), Config{})
	if err != nil {
		t.Fatal(err)
	}
	for body, ok := range map[string]bool{"": true, "{}": true, " \n": true, `{"a":1}`: false, "[]": false, "x": false} {
		if err := p.Decode(&struct{}{}, Message{Body: []byte(body)}); (err == nil) != ok {
			t.Errorf("body %q: %v", body, err)
		}
	}
	if err := p.Decode(&struct{}{}, Message{Params: "a=1"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("an unknown parameter gives %v", err)
	}
}

func TestRawBodyIsLeftAlone(t *testing.T) {
	type callback struct {
		Provider string            `json:"-" path:"provider"`
		Headers  map[string]string `json:"-" header:"*"`
		Body     []byte            `json:"-" body:"raw"`
	}
	p, err := NewRequest(reflect.TypeFor[callback](), Config{Path: "/callbacks/{provider}", HeaderPrefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	in := callback{Provider: "sandbox", Headers: map[string]string{"Sandbox-Signature": "t=1,v=2", "Content-Type": "text/plain"}, Body: []byte(" {\xff not json ")}
	m, err := p.Encode(&in)
	if err != nil {
		t.Fatal(err)
	}
	m.Header[prefix+"Strange"] = []string{"\x00"} // no text: left out
	var out callback
	if err := p.Decode(&out, m); err != nil || !reflect.DeepEqual(in, out) {
		t.Errorf("%+v became %+v, %v", in, out, err)
	}
}

// What is sent arrives, and what arrives is the caller's fault or none: never a panic, never Internal.
func FuzzDecode(f *testing.F) {
	f.Add("id="+goodEvent, `"7"`, []byte(`{"name":"x","items":[{"quantity":1}],"labels":{"a":"b"}}`))
	f.Add("id=evt_>&limit=-1&on=x", "", []byte(`{"name":"\u0000","next":{"next":null}}`))
	f.Add("%=&&&=&id", "\r\n", []byte(`[{"":[]}]`))
	p := everythingCodec(f)
	f.Fuzz(func(t *testing.T, params, match string, body []byte) {
		var req everything
		err := p.Decode(&req, Message{Params: params, Header: map[string][]string{prefix + "If-Match": {match}}, Body: body})
		if err != nil {
			if code := fault.From(err).Code; code != fault.Invalid && code != fault.NotFound {
				t.Fatalf("%v", err)
			}
			return
		}
		if strings.ContainsAny(req.Cursor+req.IfMatch, "\x00\r\n") || strings.Contains(req.Name, "\x00") {
			t.Fatalf("let through %+v", req)
		}
		if len(body) > 0 && !json.Valid(body) {
			t.Fatalf("took %q for JSON", body)
		}
		again, err := p.Encode(&req)
		if err != nil {
			t.Fatal(err)
		}
		var twin everything
		if req.ID == "" || strings.Contains(string(again.Body), `"ticket_type_id":""`) {
			return // an id that was left out cannot be sent as an empty one
		}
		if err := p.Decode(&twin, again); err != nil {
			t.Fatalf("does not survive a second trip: %v; %v", err, again)
		}
		if v, _ := url.ParseQuery(again.Params); v.Get("id") != string(twin.ID) {
			t.Fatalf("id %s became %s", v.Get("id"), twin.ID)
		}
	})
}

type patchRequest struct {
	ID    ids.Event        `json:"-" path:"id"`
	Name  *string          `json:"name,omitempty"`
	Note  Patch[string]    `json:"note,omitzero"`
	Until Patch[time.Time] `json:"until,omitzero"`
	Item  Patch[item]      `json:"item,omitzero"`
}

// Null clears what can be cleared, and nothing else passes for "leave it".
func TestPatch(t *testing.T) {
	p, err := NewRequest(reflect.TypeFor[patchRequest](), Config{Path: "/x/{id}", Patch: true})
	if err != nil {
		t.Fatal(err)
	}
	decode := func(body string) (req patchRequest, err error) {
		return req, p.Decode(&req, Message{Params: "id=" + goodEvent, Body: []byte(body)})
	}
	req, err := decode(`{"note":null,"item": null}`)
	if err != nil || !req.Note.Given || req.Note.Value != nil || !req.Item.Given || req.Until.Given || req.Name != nil {
		t.Errorf("decoded %+v, %v", req, err)
	}
	note, until := "old", time.Now()
	at := &until
	req.Note.Apply(&note)
	req.Until.ApplyTo(&at)
	if note != "" || at != &until {
		t.Errorf("applied: %q, %v", note, at)
	}
	req, err = decode(`{"note":"new","until":"2030-01-01T00:00:00Z","item":{"ticket_type_id":"` + goodType + `","quantity":2}}`)
	req.Note.Apply(&note)
	req.Until.ApplyTo(&at)
	if err != nil || note != "new" || at == nil || at.Year() != 2030 || req.Item.Value.Quantity != 2 {
		t.Errorf("decoded %+v, %v", req, err)
	}
	_, err = decode(`{"name": null,"until":"soon","note":3,"item":{"quantity":null,"x":1}}`)
	var wrong []string
	for _, f := range fault.From(err).Fields {
		wrong = append(wrong, f.Field+" "+f.Detail)
	}
	want := []string{"name must not be null", "until must be a time as in 2026-05-01T18:00:00Z", "note must be text", "item.x unknown field"}
	if !slices.Equal(wrong, want) {
		t.Errorf("wrong are %q, want %q", wrong, want)
	}
	for _, want := range []patchRequest{{Note: Clear[string]()}, {Note: To("x")}, {}} {
		want.ID = ids.Event(goodEvent)
		m, err := p.Encode(&want)
		var got patchRequest
		if err := errors.Join(err, p.Decode(&got, m)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s became %+v, %v", m.Body, got, err)
		}
	}
}
