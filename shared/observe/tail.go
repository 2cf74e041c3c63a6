package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/nats-io/nats.go/jetstream"
)

// LogStream is the stream that keeps the log lines of every process, on the subjects logs.<service>.<level>.
const (
	LogStream   = "LOGS"
	LogSubjects = logPrefix + ">"
	logPrefix   = "logs."
)

// TailOptions say which log lines Tail reads. The zero value means all that the stream has.
type TailOptions struct {
	Service string    // only this service
	Level   string    // this level and above: debug, info, warn or error
	Request string    // only lines with this request id
	Since   time.Time // only lines that reached the stream at or after this time
	Follow  bool      // wait for more instead of returning at the end
}

func (o TailOptions) wants(e Entry) bool { return o.Request == "" || e.RequestID == o.Request }

// Entry is one log line.
type Entry struct {
	Time      time.Time
	Level     string
	Service   string
	Instance  string
	Message   string
	RequestID string
	Attrs     map[string]any // everything else
	Line      []byte         // the whole line as it was written
}

// Tail calls fn for each line, oldest first. It returns nil at the end of the stream, or when ctx ends while
// following; and the error of fn if that is not nil. Lines that are no JSON are passed with only Line set.
func Tail(ctx context.Context, js jetstream.JetStream, opts TailOptions, fn func(Entry) error) error {
	subjects, err := tailSubjects(opts)
	if err != nil {
		return err
	}
	config := jetstream.OrderedConsumerConfig{FilterSubjects: subjects}
	if !opts.Since.IsZero() {
		config.DeliverPolicy = jetstream.DeliverByStartTimePolicy
		config.OptStartTime = &opts.Since
	}
	return read(ctx, js, config, opts.Follow, func(e Entry, _ *jetstream.MsgMetadata) error {
		if !opts.wants(e) {
			return nil
		}
		return fn(e)
	})
}

// read is the one reader of the stream: it calls fn for each line that the consumer is sent.
func read(ctx context.Context, js jetstream.JetStream, config jetstream.OrderedConsumerConfig, follow bool,
	fn func(Entry, *jetstream.MsgMetadata) error) error {
	consumer, err := js.OrderedConsumer(ctx, LogStream, config)
	if err != nil {
		return fmt.Errorf("reading stream %s: %w", LogStream, err)
	}
	if !follow && consumer.CachedInfo().NumPending == 0 {
		return nil
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("reading stream %s: %w", LogStream, err)
	}
	defer messages.Stop()

	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			if follow && ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("reading stream %s: %w", LogStream, err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		if err := fn(parseEntry(msg.Data()), meta); err != nil {
			return err
		}
		if !follow && meta.NumPending == 0 {
			return nil
		}
	}
}

// Levels returns the levels of lines, the least first.
func Levels() []string { return []string{"debug", "info", "warn", "error"} }

// IsService reports whether lines can be those of a service of that name; "" is any.
func IsService(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r == '.' || r == '*' || r == '>' || unicode.IsSpace(r) || unicode.IsControl(r)
	})
}

// tailSubjects turns service and level into filter subjects, so that the server sends only what was asked for.
func tailSubjects(opts TailOptions) ([]string, error) {
	service := "*"
	if !IsService(opts.Service) {
		return nil, errors.New("a service is one word")
	}
	if opts.Service != "" {
		service = opts.Service
	}
	if opts.Level == "" {
		return []string{logPrefix + service + ".*"}, nil
	}
	levels := Levels()
	from := slices.Index(levels, strings.ToLower(opts.Level))
	if from < 0 {
		return nil, fmt.Errorf("level %q is none of %s", opts.Level, strings.Join(levels, ", "))
	}
	subjects := make([]string, 0, len(levels))
	for _, level := range levels[from:] {
		subjects = append(subjects, logPrefix+service+"."+level)
	}
	return subjects, nil
}

func parseEntry(line []byte) Entry {
	e := Entry{Line: line}
	attrs := make(map[string]any)
	if json.Unmarshal(line, &attrs) != nil {
		return e
	}
	take := func(key string) string {
		s, _ := attrs[key].(string)
		delete(attrs, key)
		return s
	}
	e.Time, _ = time.Parse(time.RFC3339Nano, take("time"))
	e.Level, e.Service, e.Instance = take("level"), take("service"), take("instance")
	e.Message, e.RequestID = take("msg"), take("request_id")
	e.Attrs = attrs
	return e
}

// WriteText writes the entry as one line for a person. What would steer a terminal is quoted: log lines hold text that
// strangers sent.
func (e Entry) WriteText(w io.Writer) error {
	if e.Attrs == nil {
		_, err := fmt.Fprintln(w, plain(string(e.Line)))
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %-5s %s/%s  %s", e.Time.UTC().Format("2006-01-02T15:04:05.000Z"),
		strings.ToUpper(plain(e.Level)),
		plain(e.Service), plain(e.Instance), plainMessage(e.Message))
	if e.RequestID != "" {
		b.WriteString(" request_id=" + plain(e.RequestID))
	}
	for _, key := range slices.Sorted(maps.Keys(e.Attrs)) {
		value, ok := e.Attrs[key].(string)
		if !ok {
			data, _ := json.Marshal(e.Attrs[key]) // it came from JSON
			value = string(data)
		}
		b.WriteString(" " + plain(key) + "=" + plain(value))
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

// plain quotes a text that has anything but printable characters, or blanks that would blur where it ends.
func plain(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r == ' ' || r == '"' || !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// plainMessage is plain for the message, in which blanks are usual.
func plainMessage(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}
