package openapi

import (
	"cmp"
	"slices"
	"strings"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// problem is a fault that an endpoint can answer with, and when it does.
type problem struct {
	code fault.Code
	when string
	own  bool // declared by the endpoint itself
}

// problems returns those that follow from what is declared of an endpoint, then those that it declares itself.
func problems(d rpc.Descriptor) []problem {
	all := map[fault.Code]string{
		fault.Invalid:     "something in the request is not as described; errors names the fields",
		fault.RateLimited: "there were too many requests; Retry-After says when to try again",
		fault.Internal:    "a defect of the system; request_id finds it in the log",
		fault.Unavailable: "a part of the system is down or has too much to do; try again",
		fault.Timeout:     "the time was over; it may have happened all the same",
	}
	if d.Access != rpc.Public {
		all[fault.Unauthenticated] = "the access token is missing, wrong or over"
	}
	inPath := strings.Contains(d.Path, "{")
	if d.Access == rpc.Admin || d.Access == rpc.User && inPath {
		all[fault.Forbidden] = "the caller may not do this"
	}
	if d.StepUp {
		all[fault.Forbidden] = "the caller may not do this, or has to prove once more who they are, see POST " +
			"/v1/sessions/current/proof: then errors has the field step_up"
	}
	if inPath {
		all[fault.NotFound] = "there is no such thing, or the caller may not see it"
	}
	if d.Idempotent || d.Method != "GET" && inPath {
		all[fault.Conflict] = "its state does not allow it now, or a request with the same Idempotency-Key has not " +
			"ended yet"
	}
	if d.Method != "GET" {
		all[fault.TooLarge] = "the body is over its limit"
		if !d.Raw {
			all[fault.WrongMedia] = "the body is not application/json"
		}
	}
	if slices.Contains(d.Headers, "If-Match") {
		all[fault.Precondition] = "it was changed since the ETag in If-Match was read"
	}
	if d.Idempotent {
		all[fault.Unprocessable] = "the Idempotency-Key was used for another request"
	}
	for code, when := range d.Faults {
		all[code] = when
	}
	var list []problem
	for code, when := range all {
		if _, own := d.Faults[code]; when != "" {
			list = append(list, problem{code, when, own})
		}
	}
	return list
}

// problemResponse is the response with a status.
func problemResponse(status int, text string) object {
	r := object{
		"description": text,
		"content": object{"application/problem+json": object{
			"schema": object{"$ref": "#/components/schemas/Problem"}}},
	}
	if status == fault.RateLimited.Status() || status == fault.Unavailable.Status() {
		r["headers"] = object{"Retry-After": object{"description": "After how many seconds to try again.",
			"schema": object{"type": "integer"}}}
	}
	return r
}

func problemSchema() object {
	text := func(description string) object { return object{"type": "string", "description": description} }
	codes := toAny(slices.SortedFunc(slices.Values(fault.Codes()), cmp.Compare[fault.Code]))
	code := text("What kind of problem it is, for programs.")
	code["enum"] = codes
	return object{
		"type":        "object",
		"description": "A problem, as in RFC 9457.",
		"required":    []any{"type", "title", "status", "detail", "code", "request_id"},
		"properties": object{
			"type": text("A URI that names the kind of problem."), "title": text("The kind of problem in words."),
			"status":     object{"type": "integer", "description": "The HTTP status."},
			"detail":     text("What is wrong with this request, for people."),
			"request_id": text("Names the request in logs and traces."),
			"code":       code,
			"errors": object{"type": "array", "description": "What is wrong, field by field, if the code is " +
				"invalid; what is needed, if it is forbidden.",
				"items": object{"type": "object", "required": []any{"field", "detail"}, "properties": object{
					"field":  text("The path of a member, or the name of a parameter."),
					"detail": text("What is wrong with it.")}}},
			"challenge": object{"type": "object", "required": []any{"kind", "nonce", "bits", "expires_in"},
				"description": "With rate_limited: repeat the request with the answer to this in the header " +
					"Challenge-Answer.",
				"properties": object{
					"kind": text("How it is solved. hashcash: find a number so that the SHA-256 of nonce:number " +
						"begins with so many zero bits. nonce:number is the answer."),
					"nonce": text("What is to be solved. It is good once, and for requests of the same kind."),
					"bits":  object{"type": "integer", "description": "How many bits are to be zero."},
					"expires_in": object{"type": "integer",
						"description": "For how many seconds the answer is taken."}}},
		},
	}
}
