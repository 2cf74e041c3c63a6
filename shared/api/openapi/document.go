// Package openapi makes the OpenAPI document of the contract. Types, tags and comments of package api are all it is
// made of: a thing is described where it is declared. It runs in tests, which have the source; what it makes is
// embedded there.
package openapi

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"

	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// object is a JSON object. Its keys are written in alphabetical order, so the document is the same every time.
type object = map[string]any

// Version stands in the document where a running system puts its own.
const Version = "0.0.0"

type generator struct {
	comments *Comments
	schemas  *codec.Schemas
	examples map[string]Example // by operation id
	problems object             // responses that endpoints share, by status
	requests map[string]string  // by schema: what it is the body of, such as POST /v1/events
}

// Document returns the OpenAPI 3.1 document of the endpoints that have a path, as indented JSON.
func Document(endpoints []rpc.Descriptor, comments *Comments, examples []Example) ([]byte, error) {
	g := &generator{comments: comments, schemas: codec.NewSchemas("#/components/schemas/"),
		examples: map[string]Example{}, problems: object{}, requests: map[string]string{}}
	g.schemas.Annotate = g.annotate
	for _, e := range examples {
		if id := operationID(e.Endpoint); g.examples[id].Request == nil { // the first one is shown
			g.examples[id] = e
		}
	}
	paths := object{}
	var tags []any
	seen := map[string]bool{}
	for _, d := range endpoints {
		if d.Access == rpc.Internal {
			continue
		}
		if !seen[d.Service] {
			seen[d.Service] = true
			tags = append(tags, object{"name": d.Service, "description": tagText[d.Service]})
		}
		for _, d := range SpelledOut(d) {
			item, ok := paths[d.Path].(object)
			if !ok {
				item = object{}
				paths[d.Path] = item
			}
			op, err := g.operation(d)
			if err != nil {
				return nil, err
			}
			item[strings.ToLower(d.Method)] = op
		}
	}
	g.describeTypes()
	g.schemas.Named["Problem"] = problemSchema()
	return indented(object{
		"openapi":  "3.1.0",
		"info":     info(introduction),
		"servers":  []any{object{"url": "/", "description": "The gateway that serves this document."}},
		"tags":     tags,
		"paths":    paths,
		"security": []any{},
		"components": object{
			"schemas":   g.schemas.Named,
			"responses": g.problems,
			"securitySchemes": object{"bearer": object{"type": "http", "scheme": "bearer", "bearerFormat": "JWT",
				"description": "The short-lived access_token of POST /v1/sessions or POST /v1/sessions/refresh."},
				"ticket": object{"type": "apiKey", "in": "query", "name": "ticket",
					"description": "The one-time ticket of POST /v1/live/tickets, for clients that cannot send a " +
						"header."}},
		},
	})
}

// info is what both documents say of the system.
func info(about string) object {
	return object{
		"title":       "StarlightSymphony",
		"version":     Version,
		"description": about,
		"contact":     object{"name": "StarlightSymphony", "url": "https://github.com/starlightsymphony/starlight"},
		"license":     object{"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
	}
}

func indented(doc object) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

const introduction = "Events, orders, payments, tickets and admissions.\n\n" +
	"Times are RFC 3339. Money is in minor units of an ISO 4217 currency. Members that are not declared are refused " +
	"in requests; " +
	"clients ignore those that they do not know in answers. " +
	"Errors are application/problem+json (RFC 9457) with a stable `code`. What the caller may not see is 404.\n\n" +
	"The examples can be sent in the order of a purchase: register, log in, create and publish an event, order, pay, " +
	"admit. " +
	"An id of an example stands for one of the system at hand. The page /docs puts in the last id of its kind that " +
	"it has seen, the first " +
	"event of the catalogue at the beginning, and the access token of the last login."

// tagText says what each service does.
var tagText = map[string]string{
	"user":         "Accounts, sessions, password resets and the keys of access tokens.",
	"event":        "Organizers, events, their ticket types, teams and the catalogue.",
	"ticketing":    "Orders, tickets, attendees and admissions.",
	"payment":      "Payments, refunds, disputes, the sandbox and the ledger.",
	"notification": "Messages, preferences, push subscriptions, announcements and dead letters.",
	"analytics":    "Numbers, series, forecasts and reports of events.",
	"config":       "Live settings and their history, for administrators.",
	"venue":        "Places with doors.",
	"audit":        "What administrators and organizers did.",
	"discovery":    "The running instances of all services, for administrators.",
}

// describeTypes adds to each schema what its type is.
func (g *generator) describeTypes() {
	for name, schema := range g.schemas.Named {
		text := g.comments.Type(g.schemas.Types[name])
		if text == "" && g.requests[name] != "" {
			text = "The body of " + g.requests[name] + "."
		}
		if text != "" {
			schema.(object)["description"] = text
		}
	}
}

// bodyOf remembers what a type is the request of.
func (g *generator) bodyOf(d rpc.Descriptor, schema object) {
	if name, ok := strings.CutPrefix(asText(schema["$ref"]), "#/components/schemas/"); ok {
		g.requests[name] = d.Method + " " + d.Path
	}
}

func asText(v any) string {
	s, _ := v.(string)
	return s
}

// SpelledOut returns an endpoint whose path has a parameter of few values as one for each of them. A generated client
// or router could not distinguish /payments/callbacks/{provider} from /payments/{id}/refunds.
func SpelledOut(d rpc.Descriptor) []rpc.Descriptor {
	for _, f := range codec.Fields(d.Request) {
		values, few := f.Tag.Lookup("enum")
		if f.In != codec.Path || !few {
			continue
		}
		var all []rpc.Descriptor
		for value := range strings.SplitSeq(values, ",") {
			one := d
			one.Name, one.Path = d.Name+"_"+value, strings.Replace(d.Path, "{"+f.Key+"}", value, 1)
			all = append(all, one)
		}
		return all
	}
	return []rpc.Descriptor{d}
}

func operationID(d rpc.Descriptor) string { return d.Service + "_" + d.Name }

func tagged(t reflect.Type) bool { return t.Implements(reflect.TypeFor[rpc.ETagger]()) }
