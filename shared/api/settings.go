package api

import (
	"log/slog"
	"time"

	"github.com/starlightsymphony/starlight/shared/settings"
)

// The live settings. `nats kv put config KEY VALUE` and PUT /v1/config/KEY change them everywhere within a second.
var (
	HoldTTL = settings.Duration("ticketing.hold_ttl", 10*time.Minute,
		"How long an unpaid order keeps its seats.", settings.Between(time.Second, 24*time.Hour))
	MaxPerOrder = settings.Int("ticketing.max_per_order", 20,
		"The most tickets one order may have.", settings.Between(1, 1000))
	MaxOpenOrders = settings.Int("ticketing.max_open_orders", 0,
		"How many unpaid orders a person may have at a time; 0 means any number.", settings.Between(0, 100000))
	DoorsOpen = settings.Duration("ticketing.doors_open", 0,
		"How long before the start of an event tickets are admitted; 0s means at any time.", settings.Between(time.Duration(0), 30*24*time.Hour))
	DoorsClose = settings.Duration("ticketing.doors_close", 12*time.Hour,
		"How long after the end of an event tickets are admitted.", settings.Between(time.Duration(0), 30*24*time.Hour))

	PaymentProvider = settings.String("payment.provider", "sandbox",
		"The payment provider of orders that name none.", 40)
	SandboxEnabled = settings.Bool("payment.sandbox", false,
		"Whether the built-in sandbox provider accepts payments. It moves no money: never true where real tickets are sold.")
	PaymentPollAfter = settings.Duration("payment.poll_after", 30*time.Second,
		"How long a payment may be unfinished before the provider is asked, in case a callback was lost.", settings.Between(time.Second, time.Hour))

	AccessTTL = settings.Duration("user.access_ttl", 15*time.Minute,
		"How long an access token is valid.", settings.Between(10*time.Second, 24*time.Hour))
	RefreshTTL = settings.Duration("user.refresh_ttl", 30*24*time.Hour,
		"How long a session lasts without being refreshed.", settings.Between(time.Minute, 365*24*time.Hour))

	RatePerAddress = settings.Int("gateway.rate_per_address", 1000,
		"Requests a second that one address may make; 0 means any number.", settings.Between(0, 1000000))
	RatePerPerson = settings.Int("gateway.rate_per_person", 500,
		"Requests a second that one person may make; 0 means any number.", settings.Between(0, 1000000))
	RateLogin = settings.Int("gateway.rate_login", 20,
		"Requests a second that one address may make to the endpoints that check passwords and tokens; 0 means any number.", settings.Between(0, 1000000))

	LogLevel = settings.Level("log.level", slog.LevelInfo, "What is logged: debug, info, warn or error.")
)

// Settings returns every live setting in the order of documentation.
func Settings() []settings.Definition {
	return []settings.Definition{HoldTTL, MaxPerOrder, MaxOpenOrders, DoorsOpen, DoorsClose,
		PaymentProvider, SandboxEnabled, PaymentPollAfter, AccessTTL, RefreshTTL, RatePerAddress, RatePerPerson, RateLogin, LogLevel}
}
