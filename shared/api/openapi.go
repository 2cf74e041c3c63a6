package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// object is a JSON object. Its keys are written in alphabetical order, so the document is the same at every start.
type object = map[string]any

// OpenAPI returns the OpenAPI 3.1 document of the endpoints that have a path, as indented JSON.
func OpenAPI(endpoints []rpc.Descriptor, version string) ([]byte, error) {
	schemas := rpc.NewSchemas("#/components/schemas/")
	paths := object{}
	var tags []any
	seen := map[string]bool{}
	for _, d := range endpoints {
		if d.Access == rpc.Internal {
			continue
		}
		if !seen[d.Service] {
			seen[d.Service] = true
			tags = append(tags, object{"name": d.Service})
		}
		item, ok := paths[d.Path].(object)
		if !ok {
			item = object{}
			paths[d.Path] = item
		}
		item[strings.ToLower(d.Method)] = operation(d, schemas)
	}
	schemas.Named["Problem"] = problemSchema()
	doc := object{
		"openapi": "3.1.0",
		"info": object{
			"title":   "StarlightSymphony",
			"version": version,
			"description": "Events, orders, payments, tickets and admissions.\n\nTimes are RFC 3339. Money is in minor units. " +
				"Errors are application/problem+json (RFC 9457) with a stable `code`. " +
				"What the caller may not see is 404.",
			"license": object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"servers": []any{object{"url": "/"}},
		"tags":    tags,
		"paths":   paths,
		"components": object{
			"schemas":   schemas.Named,
			"responses": problemResponses(),
			"securitySchemes": object{"bearer": object{"type": "http", "scheme": "bearer", "bearerFormat": "JWT",
				"description": "A short-lived access token from POST /v1/sessions."}},
		},
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func operation(d rpc.Descriptor, schemas *rpc.Schemas) object {
	op := object{
		"operationId": d.Service + "_" + d.Name,
		"tags":        []any{d.Service},
		"summary":     d.Summary,
		"responses":   responses(d, schemas),
	}
	if d.Detail != "" {
		op["description"] = d.Detail
	}
	switch d.Access {
	case rpc.User, rpc.Admin:
		op["security"] = []any{object{"bearer": []any{}}}
	case rpc.Optional:
		op["security"] = []any{object{}, object{"bearer": []any{}}}
	default:
		op["security"] = []any{}
	}
	if params := parameters(d, schemas); len(params) > 0 {
		op["parameters"] = params
	}
	if d.Raw {
		op["requestBody"] = object{"required": true, "content": object{"*/*": object{}}}
	} else if schema := schemas.Request(d.Request); schema != nil {
		op["requestBody"] = object{"required": needsBody(d.Request), "content": object{"application/json": object{"schema": schema}}}
	}
	return op
}

// needsBody reports whether a request has a JSON member that may not be left out.
func needsBody(t reflect.Type) bool {
	for _, f := range reflect.VisibleFields(t) {
		tag := f.Tag.Get("json")
		if tag != "" && tag != "-" && !strings.Contains(tag, ",omit") && f.Type.Kind() != reflect.Pointer {
			return true
		}
	}
	return false
}

func parameters(d rpc.Descriptor, schemas *rpc.Schemas) []any {
	var params []any
	for _, f := range reflect.VisibleFields(d.Request) {
		for _, in := range []string{"path", "query", "header"} {
			name, ok := f.Tag.Lookup(in)
			if !ok {
				continue
			}
			p := object{"name": name, "in": in, "schema": schemas.Value(f.Type)}
			if in == "path" {
				p["required"] = true
			}
			if doc := f.Tag.Get("doc"); doc != "" {
				p["description"] = doc
			}
			params = append(params, p)
		}
	}
	if d.Idempotent {
		params = append(params, object{"name": rpc.IdempotencyKey, "in": "header", "schema": object{"type": "string", "maxLength": 255},
			"description": "The same key with the same request gives the same answer again, for at least 24 hours, and changes nothing."})
	}
	if d.Method == "GET" && tagged(d.Response) {
		params = append(params, object{"name": rpc.IfNoneMatch, "in": "header", "schema": object{"type": "string"},
			"description": "An ETag: if it is still the present one, the answer is 304 without a body."})
	}
	return params
}

func tagged(t reflect.Type) bool { return t.Implements(reflect.TypeFor[rpc.ETagger]()) }

// responses lists the success and the problems that an endpoint can answer with.
func responses(d rpc.Descriptor, schemas *rpc.Schemas) object {
	success := object{"description": "Success"}
	switch d.Response {
	case reflect.TypeFor[rpc.Blob]():
		success["content"] = object{"*/*": object{}}
	default:
		schema := schemas.Response(d.Response)
		switch {
		case d.Live:
			success["description"] = "A snapshot, as the event of that name, and then what changes"
			success["content"] = object{"text/event-stream": object{"schema": schema}}
		case schema != nil:
			success["content"] = object{"application/json": object{"schema": schema}}
		}
	}
	if tagged(d.Response) {
		success["headers"] = object{"ETag": object{"schema": object{"type": "string"}}}
	}
	out := object{strconv.Itoa(d.Success()): success}
	if d.Method == "GET" && tagged(d.Response) {
		out["304"] = object{"description": "It has not changed"}
	}
	for _, code := range possible(d) {
		status := strconv.Itoa(rpc.HTTPStatus(code))
		out[status] = object{"$ref": "#/components/responses/" + status}
	}
	return out
}

// possible returns the codes an endpoint may answer with, as far as its declaration tells.
func possible(d rpc.Descriptor) []fault.Code {
	codes := []fault.Code{fault.Invalid, fault.RateLimited, fault.Internal, fault.Unavailable, fault.Timeout}
	switch d.Access {
	case rpc.User:
		codes = append(codes, fault.Unauthenticated, fault.Forbidden)
	case rpc.Admin:
		codes = append(codes, fault.Unauthenticated, fault.Forbidden)
	case rpc.Optional:
		codes = append(codes, fault.Unauthenticated)
	}
	if strings.Contains(d.Path, "{") || d.Method != "GET" {
		codes = append(codes, fault.NotFound)
	}
	if d.Method != "GET" {
		codes = append(codes, fault.Conflict, fault.Expired, fault.TooLarge)
	}
	if slices.Contains(d.Headers, "If-Match") {
		codes = append(codes, fault.Precondition)
	}
	if d.Idempotent {
		codes = append(codes, fault.Unprocessable)
	}
	if d.Access == rpc.Public && d.Method == "POST" { // wrong passwords and tokens
		codes = append(codes, fault.Unauthenticated)
	}
	return codes
}

// problemResponses returns one shared response for each status of the catalogue.
func problemResponses() object {
	byStatus := map[int][]string{}
	for _, code := range fault.Codes() {
		status := rpc.HTTPStatus(code)
		byStatus[status] = append(byStatus[status], string(code))
	}
	out := object{}
	for status, codes := range byStatus {
		r := object{
			"description": "Problem with code " + strings.Join(codes, " or "),
			"content":     object{"application/problem+json": object{"schema": object{"$ref": "#/components/schemas/Problem"}}},
		}
		if status == rpc.HTTPStatus(fault.RateLimited) || status == rpc.HTTPStatus(fault.Unavailable) {
			r["headers"] = object{"Retry-After": object{"description": "Seconds", "schema": object{"type": "integer"}}}
		}
		out[strconv.Itoa(status)] = r
	}
	return out
}

func problemSchema() object {
	text := object{"type": "string"}
	var codes []any
	for _, code := range slices.SortedFunc(slices.Values(fault.Codes()), cmp.Compare[fault.Code]) {
		codes = append(codes, string(code))
	}
	return object{
		"type":     "object",
		"required": []any{"type", "title", "status", "detail", "code", "request_id"},
		"properties": object{
			"type": text, "title": text, "status": object{"type": "integer"}, "detail": text, "request_id": text,
			"code": object{"type": "string", "enum": codes},
			"errors": object{"type": "array", "items": object{"type": "object", "required": []any{"field", "detail"},
				"properties": object{"field": text, "detail": text}}},
		},
	}
}
