package openapi

import (
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// Events returns the AsyncAPI 3.0 document of the domain events, as indented JSON: a channel for each subject, with the
// one message that is sent there.
func Events(topics []api.TopicDescriptor, comments *Comments) ([]byte, error) {
	g := &generator{comments: comments, schemas: codec.NewSchemas("#/components/schemas/")}
	g.schemas.Annotate = g.annotate
	channels, operations, messages := object{}, object{}, object{}
	for _, t := range topics {
		name := strings.TrimPrefix(t.Subject, "ev.")
		messages[name] = object{"name": t.Subject, "summary": t.Summary, "payload": g.schemas.Value(t.Payload),
			"headers": ref("schemas/Headers")}
		channels[name] = object{"address": t.Subject, "summary": t.Summary,
			"messages": object{"event": ref("messages/" + name)}}
		channel := "#/channels/" + name
		operations[name] = object{"action": "send", "summary": t.Summary, "channel": object{"$ref": channel},
			"messages": []any{object{"$ref": channel + "/messages/event"}}}
	}
	g.describeTypes()
	g.schemas.Named["Headers"] = headersSchema()
	return indented(object{
		"asyncapi":           "3.0.0",
		"info":               info(aboutEvents),
		"defaultContentType": "application/json",
		"servers": object{"mesh": object{"host": "localhost:4222", "protocol": "nats",
			"description": "The NATS servers of the system, with the credentials of `starlight auth service`."}},
		"channels":   channels,
		"operations": operations,
		"components": object{"messages": messages, "schemas": g.schemas.Named},
	})
}

func ref(to string) object { return object{"$ref": "#/components/" + to} }

// headersSchema is of the NATS headers that each domain event has.
func headersSchema() object {
	text := func(about string) object { return object{"type": "string", "description": about} }
	return object{"type": "object", "description": "NATS headers.", "required": []any{"Nats-Msg-Id"},
		"properties": object{
			"Nats-Msg-Id":       text("Names the message: who has seen it ignores it."),
			rpc.HeaderRequestID: text("The request that caused it, if one did."),
			rpc.HeaderTrace:     text("W3C trace context of what caused it."),
		}}
}

const aboutEvents = "What has happened in the system, as JSON in the stream EVENTS, which keeps it for 366 days. A " +
	"message is published after the transaction of its change has committed, at least once. The order of one service " +
	"is kept, but not after every failure; where it matters, the payload has a revision or a time. Readers ignore " +
	"members that they do not know. Times are RFC 3339 in UTC, money is in minor units of an ISO 4217 currency."
