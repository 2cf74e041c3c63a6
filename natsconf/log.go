package natsconf

import (
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/nats-io/nats-server/v2/server"
)

// logBridge hands the server's log to slog. The server's notices are its start-up banner and the comings and goings of
// clients: debug for a product in which the server is a part.
type logBridge struct {
	log   *slog.Logger
	fatal chan string // holds the first fatal message; the server goes on after Fatalf returns
	last  atomic.Pointer[string]
}

var _ server.Logger = (*logBridge)(nil)

func (b *logBridge) Noticef(format string, v ...any) { b.log.Debug(fmt.Sprintf(format, v...)) }
func (b *logBridge) Warnf(format string, v ...any)   { b.log.Warn(fmt.Sprintf(format, v...)) }
func (b *logBridge) Debugf(format string, v ...any)  { b.log.Debug(fmt.Sprintf(format, v...)) }
func (b *logBridge) Tracef(format string, v ...any)  { b.log.Debug(fmt.Sprintf(format, v...)) }

func (b *logBridge) Errorf(format string, v ...any) {
	msg := fmt.Sprintf(format, v...)
	b.last.Store(&msg)
	b.log.Error(msg)
}

// lastError returns what the server complained of last.
func (b *logBridge) lastError() string {
	if msg := b.last.Load(); msg != nil {
		return *msg
	}
	return "see the log"
}

func (b *logBridge) Fatalf(format string, v ...any) {
	msg := fmt.Sprintf(format, v...)
	b.log.Error(msg)
	select {
	case b.fatal <- msg:
	default:
	}
}

// failure returns the fatal message, if there was one.
func (b *logBridge) failure() error {
	select {
	case msg := <-b.fatal:
		return fmt.Errorf("natsconf: %s", msg)
	default:
		return nil
	}
}
