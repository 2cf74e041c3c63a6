package openapi

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// The tags of fields that are members of their schema. Their values are what the handlers check; for a list enum holds
// for each of its items.
var (
	numberTags = []string{"minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"}
	valueTags  = []string{"default", "example"}
	textTags   = []string{"format", "pattern"}
)

// annotate adds to a schema what the field says in its comment and tags.
func (g *generator) annotate(f codec.Field, schema object) {
	if text := g.comments.Field(f); text != "" {
		schema["description"] = text
	}
	limit(f, inner(schema))
}

// inner is the schema within one that may also be null.
func inner(schema object) object {
	for {
		of, ok := schema["oneOf"].([]any)
		if !ok {
			return schema
		}
		schema = of[0].(object)
	}
}

func limit(f codec.Field, schema object) {
	for _, tag := range numberTags {
		if text, ok := f.Tag.Lookup(tag); ok {
			schema[tag] = json.Number(text)
		}
	}
	for _, tag := range textTags {
		if text, ok := f.Tag.Lookup(tag); ok {
			schema[tag] = text
		}
	}
	for _, tag := range valueTags {
		if text, ok := f.Tag.Lookup(tag); ok {
			schema[tag] = value(schema["type"], text)
		}
	}
	if text, ok := f.Tag.Lookup("enum"); ok {
		to := schema
		if schema["type"] == "array" {
			to = schema["items"].(object)
		}
		to["enum"] = toAny(strings.Split(text, ","))
	}
}

// value reads the text of a tag as a value of a schema's type.
func value(kind any, text string) any {
	if kind == "string" {
		return text
	}
	return json.RawMessage(text)
}

func toAny[T any](list []T) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = v
	}
	return out
}

// Undescribed returns the parts of a document that ought to have a description and have none: operations, parameters,
// properties, responses and tags.
func Undescribed(doc map[string]any) []string {
	var missing []string
	want := func(at string, o object) {
		if text, _ := o["description"].(string); strings.TrimSpace(text) == "" {
			missing = append(missing, at)
		}
	}
	for path, item := range doc["paths"].(object) {
		for method, op := range item.(object) {
			op, at := op.(object), strings.ToUpper(method)+" "+path
			want(at, op)
			params, _ := op["parameters"].([]any)
			for _, p := range params {
				p := p.(object)
				want(fmt.Sprintf("%s: %s parameter %s", at, p["in"], p["name"]), p)
			}
			for status, r := range op["responses"].(object) {
				if r := r.(object); r["$ref"] == nil {
					want(at+": "+status, r)
				}
			}
		}
	}
	for _, tag := range doc["tags"].([]any) {
		tag := tag.(object)
		want(fmt.Sprintf("tag %s", tag["name"]), tag)
	}
	components := doc["components"].(object)
	for name, s := range components["schemas"].(object) {
		s := s.(object)
		want("schema "+name, s)
		properties, _ := s["properties"].(object)
		for member, p := range properties {
			want(name+"."+member, p.(object))
		}
	}
	slices.Sort(missing)
	return missing
}
