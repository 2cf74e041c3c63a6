package openapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

func (g *generator) operation(d rpc.Descriptor) (object, error) {
	op := object{
		"operationId": operationID(d),
		"tags":        []any{d.Service},
		"summary":     d.Summary,
		"description": description(d),
		"security":    security(d),
		"responses":   g.responses(d),
	}
	if params := g.parameters(d); len(params) > 0 {
		op["parameters"] = params
	}
	body, err := g.body(d)
	if body != nil {
		op["requestBody"] = body
	}
	return op, err
}

// description is the detail of an endpoint, and what follows from its declaration.
func description(d rpc.Descriptor) string {
	parts := []string{d.Detail}
	if d.Detail == "" {
		parts[0] = d.Summary + "."
	}
	switch d.Access {
	case rpc.Public:
		parts = append(parts, "No access token is needed.")
	case rpc.Optional:
		parts = append(parts, "An access token may be left out; with one, the answer also has what the caller alone "+
			"may see.")
	case rpc.User:
		parts = append(parts, "Needs the access token of a person.")
	case rpc.Admin:
		parts = append(parts, "Needs the access token of an administrator.")
	}
	if d.Live.Is() {
		parts = append(parts, live)
	}
	if d.Limit == rpc.LoginLimit {
		parts = append(parts, "The limit on attempts from one address is strict: see the setting gateway.rate_login.")
	}
	return strings.Join(parts, "\n\n")
}

const live = "The answer is a stream of server-sent events. The first has the name `snapshot` and the whole state as " +
	"its data; each later one has the name and " +
	"the data of a change. A comment comes every 15 seconds so that silence means a broken connection. The stream " +
	"ends when the access token does, " +
	"or when a client does not take what it is sent; clients come back after the time in `retry`, and are sent a new " +
	"snapshot."

func security(d rpc.Descriptor) []any {
	bearer := object{"bearer": []any{}}
	switch d.Access {
	case rpc.User, rpc.Admin:
		if d.Live.Is() {
			return []any{bearer, object{"ticket": []any{}}}
		}
		return []any{bearer}
	case rpc.Optional:
		return []any{object{}, bearer}
	}
	return []any{}
}

func (g *generator) body(d rpc.Descriptor) (object, error) {
	if d.Raw {
		return object{"required": true, "description": "The body, as it is.", "content": object{"*/*": object{}}}, nil
	}
	schema := g.schemas.Request(d.Request)
	if schema == nil {
		return nil, nil
	}
	g.bodyOf(d, schema)
	content := object{"schema": schema}
	if e, ok := g.examples[operationID(d)]; ok {
		text, err := json.Marshal(e.Request)
		if err != nil {
			return nil, err
		}
		content["example"] = json.RawMessage(text)
	}
	return object{"required": g.required(schema), "content": object{"application/json": content},
		"description": fmt.Sprintf("At most %d KiB.", d.BodyLimit()>>10)}, nil
}

// required reports whether a body must be there because one of its members must.
func (g *generator) required(schema object) bool {
	name := strings.TrimPrefix(asText(schema["$ref"]), "#/components/schemas/")
	if named, ok := g.schemas.Named[name].(object); ok {
		schema = named
	}
	list, _ := schema["required"].([]string)
	return len(list) > 0
}

func (g *generator) parameters(d rpc.Descriptor) []any {
	params := g.fields(d)
	if d.Idempotent {
		params = append(params, object{"name": rpc.IdempotencyKey, "in": "header",
			"schema": object{"type": "string", "maxLength": 255},
			"description": "The same key with the same request gives the same answer again, for at least 24 " +
				"hours, and changes nothing."})
	}
	if d.Waits != "" {
		params = append(params,
			object{"name": "wait", "in": "query", "schema": object{"type": "string", "example": "10s"},
				"description": "How long to wait for a change, such as 10s, at most 30s. With If-None-Match: for " +
					"another version than that. " +
					"Without: for a change of a state that is on its way to another; any other is answered at once."},
			object{"name": "Prefer", "in": "header", "schema": object{"type": "string", "example": "wait=10"},
				"description": "The same in seconds, as in RFC 7240."})
	}
	if d.Method == "GET" && tagged(d.Response) {
		params = append(params, object{"name": rpc.IfNoneMatch, "in": "header", "schema": object{"type": "string"},
			"description": "An ETag: if it is still the present one, the answer is 304 without a body."})
	}
	return params
}

// fields returns the fields of a request that do not stand in its body.
func (g *generator) fields(d rpc.Descriptor) []any {
	var params []any
	for _, f := range codec.Fields(d.Request) {
		inPath := f.In == codec.Path && strings.Contains(d.Path, "{"+f.Key+"}")
		if !inPath && f.In != codec.Query && f.In != codec.Header || f.Key == codec.AllHeaders {
			continue
		}
		schema := g.schemas.Value(f.Type)
		limit(f, schema)
		p := object{"name": f.Key, "in": string(f.In), "schema": schema, "description": g.comments.Field(f)}
		if f.Required {
			p["required"] = true
		}
		if v := g.exampleOf(d, f); v != nil && f.In != codec.Header {
			p["example"] = v
		}
		params = append(params, p)
	}
	return params
}

// exampleOf returns the value of a field in the example of an endpoint, or nil if it has none.
func (g *generator) exampleOf(d rpc.Descriptor, f codec.Field) any {
	e, ok := g.examples[operationID(d)]
	if !ok {
		return nil
	}
	v := reflect.ValueOf(e.Request).FieldByIndex(f.Path)
	if v.IsZero() {
		return nil
	}
	return v.Interface()
}

// responses lists the success and the problems that an endpoint can answer with.
func (g *generator) responses(d rpc.Descriptor) object {
	success := object{"description": "It is done."}
	switch schema := g.schemas.Response(d.Response); {
	case d.Response == reflect.TypeFor[rpc.Blob]():
		success["description"] = "The file."
		success["content"] = object{mediaType(d.Path): object{}}
	case d.Live.Is():
		success["description"] = "A stream of events. The schema is that of the data of the first, `snapshot`."
		success["content"] = object{"text/event-stream": object{"schema": schema}}
	case schema != nil:
		success["description"] = g.comments.Type(d.Response)
		success["content"] = object{"application/json": object{"schema": schema}}
	}
	if tagged(d.Response) {
		success["headers"] = object{"ETag": object{"description": "The version of what was read, for If-Match and " +
			"If-None-Match.", "schema": object{"type": "string"}}}
	}
	out := object{strconv.Itoa(d.Success()): success}
	if d.Response.Implements(reflect.TypeFor[rpc.Partial]()) {
		out["200"] = object{"description": "More is needed.", "content": success["content"]}
	}
	if d.Method == "GET" && tagged(d.Response) {
		out["304"] = object{"description": "It has not changed."}
	}
	own, texts := map[int]bool{}, map[int][]string{}
	for _, p := range problems(d) {
		status := p.code.Status()
		texts[status] = append(texts[status], fmt.Sprintf("`%s` (%s): %s.", p.code, p.code.Title(), p.when))
		own[status] = own[status] || p.own
	}
	for status, list := range texts {
		slices.Sort(list)
		name, response := strconv.Itoa(status), problemResponse(status, strings.Join(list, "\n\n"))
		if !own[status] { // the same for all endpoints
			g.problems[name] = response
			response = object{"$ref": "#/components/responses/" + name}
		}
		out[name] = response
	}
	return out
}

// mediaType is what a file is, by the end of its address.
func mediaType(path string) string {
	for end, media := range map[string]string{".png": "image/png", ".pdf": "application/pdf", ".csv": "text/csv",
		".ics": "text/calendar", ".xml": "application/xml",
		".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"} {
		if strings.HasSuffix(path, end) {
			return media
		}
	}
	if strings.Contains(path, "/checkout/") || strings.HasSuffix(path, "/unsubscribe") {
		return "text/html"
	}
	return "*/*"
}
