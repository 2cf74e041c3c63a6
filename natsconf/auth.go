package natsconf

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// The roles that the rules of checkRoles know by name.
const (
	roleGateway   = "gateway"
	roleDiscovery = "discovery"
	roleOps       = "ops"
	roleAdmin     = "admin"
)

// Role is a member that may connect, with the subjects it may publish to and subscribe to. Its own inbox is always
// added. A role without any Publish may not publish at all.
type Role struct {
	Name      string
	Publish   []string
	Subscribe []string
	Deny      []string // may not be published, though Publish allows it
	Owns      []string // buckets that no other role may write
	Operator  bool     // has the inbox of the nats tool, and may read with consumers of its own
	Admin     bool     // an operator who manages JetStream, except for owned buckets
}

// Grant is a piece of what a role may do.
type Grant struct{ Publish, Subscribe, Deny, Owns []string }

// NewRole returns the role that has the grants.
func NewRole(name string, grants ...Grant) Role {
	r := Role{Name: name}
	for _, g := range grants {
		r.Publish = append(r.Publish, g.Publish...)
		r.Subscribe = append(r.Subscribe, g.Subscribe...)
		r.Deny = append(r.Deny, g.Deny...)
		r.Owns = append(r.Owns, g.Owns...)
	}
	return r
}

// InboxPrefix returns the prefix of the role's inboxes. No other role may subscribe below it.
func InboxPrefix(role string) string { return "_INBOX_" + role }

// Serve lets a role answer as a service on nats micro: requests on api.<service> and http.<service>, discovery,
// and replies to the inboxes of the gateway, of discovery, of the nats tool, and of the roles in callers.
//
// The inboxes are listed, although NATS can allow whatever reply was asked for: that keeps a list of open replies for
// each connection, and delivered stream messages count as asking, so a watcher of a busy bucket would be scanned for
// it with every message.
func Serve(service string, callers ...string) Grant {
	g := Grant{Subscribe: []string{"$SRV.>", "api." + service + ".>", "http." + service + ".>"},
		Publish: []string{"_INBOX.>"}}
	for _, caller := range append([]string{roleGateway, roleDiscovery, roleOps, roleAdmin}, callers...) {
		g.Publish = append(g.Publish, InboxPrefix(caller)+".>")
	}
	return g
}

// Announce lets a role that serves nothing over NATS answer on nats micro who it is and how it does, to those whose
// inbox is no other's: not to the nats tool.
func Announce(name string) Grant {
	g := Grant{Subscribe: microSubjects(name)}
	for _, asking := range []string{roleDiscovery, roleOps, roleAdmin} {
		g.Publish = append(g.Publish, InboxPrefix(asking)+".>")
	}
	return g
}

// microSubjects returns the subjects on which a service of a name is asked who it is and how it does.
func microSubjects(name string) (subjects []string) {
	for _, verb := range []string{"PING", "INFO", "STATS"} {
		subjects = append(subjects, "$SRV."+verb, "$SRV."+verb+"."+name, "$SRV."+verb+"."+name+".*")
	}
	return subjects
}

// Discover lets a role ask every service on nats micro who it is and how it does.
func Discover() Grant { return PublishTo("$SRV.>") }

// PublishTo lets a role publish to subjects: requests, events, jobs.
func PublishTo(subjects ...string) Grant { return Grant{Publish: subjects} }

// SubscribeTo lets a role subscribe to subjects.
func SubscribeTo(subjects ...string) Grant { return Grant{Subscribe: subjects} }

// ReadKV lets a role read and watch a bucket.
func ReadKV(bucket string) Grant { return Replay("KV_" + bucket) }

// WriteKV lets a role read, watch and write a bucket: put, delete, purge.
func WriteKV(bucket string) Grant {
	g := ReadKV(bucket)
	g.Publish = append(g.Publish, "$KV."+bucket+".>", "$JS.API.STREAM.PURGE.KV_"+bucket)
	return g
}

// ReadObjects lets a role read what is in an object store.
func ReadObjects(bucket string) Grant { return Replay("OBJ_" + bucket) }

// WriteObjects lets a role read an object store, and put and delete what is in it.
func WriteObjects(bucket string) Grant {
	g := ReadObjects(bucket)
	g.Publish = append(g.Publish, "$O."+bucket+".>", "$JS.API.STREAM.PURGE.OBJ_"+bucket)
	return g
}

// OwnKV is WriteKV for a role that alone may write the bucket: checkRoles refuses any other role that could, and an
// operator may not delete, purge or reshape it.
func OwnKV(bucket string) Grant {
	g := WriteKV(bucket)
	g.Owns = []string{bucket}
	return g
}

// Replay lets a role read a stream from any point, with consumers of its own that are gone afterwards. Names of such
// consumers are random, so it may touch every consumer of that stream: checkRoles refuses it where another role has a
// durable one. Use Follow or Consume there.
func Replay(stream string) Grant {
	return Grant{Publish: []string{
		"$JS.API.STREAM.INFO." + stream,
		"$JS.API.STREAM.MSG.GET." + stream,
		"$JS.API.DIRECT.GET." + stream,
		"$JS.API.DIRECT.GET." + stream + ".>",
		"$JS.API.CONSUMER.CREATE." + stream,
		"$JS.API.CONSUMER.CREATE." + stream + ".>",
		"$JS.API.CONSUMER.INFO." + stream + ".*",
		"$JS.API.CONSUMER.DELETE." + stream + ".*",
		"$JS.API.CONSUMER.MSG.NEXT." + stream + ".*",
		"$JS.FC." + stream + ".>",
		"$JS.FC.*.*." + stream + ".>",
	}}
}

// Follow lets a role read a stream from any point with the named consumers, which are gone afterwards, and single
// messages of it.
func Follow(stream string, consumers ...string) Grant {
	g := Grant{Publish: []string{"$JS.API.STREAM.INFO." + stream, "$JS.API.STREAM.MSG.GET." + stream}}
	for _, c := range consumers {
		name := stream + "." + c
		g.Publish = append(g.Publish,
			"$JS.API.CONSUMER.CREATE."+name,
			"$JS.API.CONSUMER.CREATE."+name+".>", // with the filter subject as the last tokens
			"$JS.API.CONSUMER.INFO."+name,
			"$JS.API.CONSUMER.DELETE."+name,
			"$JS.API.CONSUMER.MSG.NEXT."+name,
		)
	}
	return g
}

// Consume lets a role create, use and delete the named durable consumers of a stream, read single messages of it (for
// dead letters), and hear when a message was delivered too often.
//
// NATS does not check where a consumer delivers to: whoever may create one (Consume, Replay, the KV grants) can have
// messages of that stream pushed to any subject. Such a message always carries a reply subject below $JS.ACK, which
// lets shared/rpc tell it from a request, and proves no principal; a store of the system must be able to bear a stray
// value.
func Consume(stream string, durables ...string) Grant {
	g := Follow(stream, durables...)
	g.Publish = append(g.Publish, "$JS.API.DIRECT.GET."+stream)
	for _, d := range durables {
		name := stream + "." + d
		g.Publish = append(g.Publish,
			"$JS.API.CONSUMER.DURABLE.CREATE."+name,
			"$JS.ACK."+name+".>",
			"$JS.ACK.*.*."+name+".>", // the form with domain and account
		)
		g.Subscribe = append(g.Subscribe, "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES."+name)
	}
	return g
}

// An operator has the nats tool. Two roles are for operators: ops, who look and change some live settings, and admin,
// who change all of them and manage JetStream. NATS permissions see the name of a stream, not what it shall collect or
// publish again, so only admin may create, change and restore streams: its credentials belong into a safe, and onto no
// machine that serves.

// Ops returns the role of operators who look at the services and read JetStream. Beyond that they may do only what they
// are granted.
func Ops(grants ...Grant) Role {
	r := NewRole(roleOps, append(grants, Discover(), readJetStream())...)
	r.Operator = true
	return r
}

// Admin returns the role of operators who manage JetStream, but for the owned buckets: these they can neither write nor
// reshape.
func Admin(grants ...Grant) Role {
	r := NewRole(roleAdmin, append(grants, Discover(), PublishTo("$JS.API.>", "$JS.ACK.>", "$JS.FC.>",
		"$JS.SNAPSHOT.ACK.>", "$JS.SNAPSHOT.RESTORE.>"))...)
	r.Operator, r.Admin = true, true
	return r
}

// readJetStream lets a role read every stream and bucket, with consumers of its own: see permissions.
func readJetStream() Grant {
	g := Grant{Publish: []string{"$JS.API.INFO", "$JS.API.DIRECT.GET.>", "$JS.FC.>"}}
	for _, of := range []string{"STREAM.NAMES", "STREAM.LIST", "STREAM.INFO.*", "STREAM.MSG.GET.*", "CONSUMER.NAMES.*",
		"CONSUMER.LIST.*", "CONSUMER.INFO.*.*", "CONSUMER.CREATE.*.>", "CONSUMER.DELETE.*.*",
		"CONSUMER.MSG.NEXT.*.*"} {
		g.Publish = append(g.Publish, "$JS.API."+of)
	}
	return g
}

// ManageStreams lets a role run Ensure and Guard: create, read and repair the settings of the declared streams, and
// remove others.
func ManageStreams(streams []jetstream.StreamConfig) Grant {
	g := Grant{Publish: []string{"$JS.API.INFO", "$JS.API.STREAM.LIST", "$JS.API.STREAM.DELETE.*"},
		Subscribe: []string{createdAdvisory + "*", updatedAdvisory + "*", deletedAdvisory + "*"}}
	for _, s := range streams {
		for _, op := range []string{"INFO", "CREATE", "UPDATE"} {
			g.Publish = append(g.Publish, "$JS.API.STREAM."+op+"."+s.Name)
		}
		g.Deny = append(g.Deny, "$JS.API.STREAM.DELETE."+s.Name)
	}
	return g
}

// permissions returns what stands in the credentials of a role, which is one of all.
func (r Role) permissions(all []Role) jwt.Permissions {
	pub, deny := slices.Clone(r.Publish), slices.Clone(r.Deny)
	sub := append(slices.Clone(r.Subscribe), InboxPrefix(r.Name)+".>")
	if r.Operator {
		pub = append(pub, "$SYS.REQ.USER.INFO")
		sub = append(sub, "_INBOX.>", "$JS.EVENT.>")
	}
	switch {
	case r.Admin:
		for bucket := range ownedBuckets(all) {
			for _, op := range []string{"DELETE", "PURGE", "UPDATE", "RESTORE", "MSG.DELETE"} {
				deny = append(deny, "$JS.API.STREAM."+op+".KV_"+bucket)
			}
		}
	case r.Operator: // the consumers of others are not its own
		for _, other := range all {
			for _, s := range other.Publish {
				consumer, found := namedConsumer(s)
				if !found {
					continue
				}
				for _, op := range []string{"CREATE." + consumer, "CREATE." + consumer + ".>", "DELETE." + consumer,
					"MSG.NEXT." + consumer} {
					deny = append(deny, "$JS.API.CONSUMER."+op)
				}
			}
		}
	}
	if len(pub) == 0 { // an empty list would allow everything
		deny = append(deny, ">")
	}
	return jwt.Permissions{Pub: jwt.Permission{Allow: tidy(pub), Deny: tidy(deny)},
		Sub: jwt.Permission{Allow: tidy(sub)}}
}

// namedConsumer returns the consumer, STREAM.NAME, that a subject asks for messages, if it names one.
func namedConsumer(subject string) (consumer string, found bool) {
	consumer, found = strings.CutPrefix(subject, nextMessage)
	return consumer, found && !strings.ContainsAny(consumer, "*>")
}

func tidy(subjects []string) jwt.StringList {
	slices.Sort(subjects)
	return slices.Compact(subjects)
}

// ownedBuckets returns the buckets that one role alone may write, with that role.
func ownedBuckets(roles []Role) map[string]string {
	owners := make(map[string]string)
	for _, r := range roles {
		for _, bucket := range r.Owns {
			owners[bucket] = r.Name
		}
	}
	return owners
}

// checkRoles refuses roles that break the rules of the house: an owned bucket is written by its owner alone, an inbox
// is read by its owner alone, a durable consumer is used by its owner alone, no role is allowed whole trees of
// endpoints. It makes the rules hold however the lists of subjects came about.
func checkRoles(roles []Role) error {
	seen := make(map[string]bool)
	for _, r := range roles {
		if !plain(r.Name) || r.Name == "sys" {
			return fmt.Errorf("natsconf: bad role name %q", r.Name)
		}
		if seen[r.Name] {
			return fmt.Errorf("natsconf: role %s is there twice", r.Name)
		}
		seen[r.Name] = true
	}
	if err := checkConsumers(roles); err != nil {
		return err
	}
	owners := ownedBuckets(roles)
	for _, r := range roles {
		for _, s := range slices.Concat(r.Publish, r.Subscribe, r.Deny) {
			// IsValidSubject lets spaces pass, and "subject queue" is a form that is silently dropped at times.
			if !server.IsValidSubject(s) || strings.ContainsAny(s, " \t\r\n") {
				return fmt.Errorf("natsconf: role %s: bad subject %q", r.Name, s)
			}
		}
		for _, s := range r.Publish {
			for bucket, owner := range owners {
				if r.Name != owner && server.SubjectsCollide(s, "$KV."+bucket+".>") {
					return fmt.Errorf("natsconf: role %s must not publish %s: the bucket %s belongs to %s",
						r.Name, s, bucket, owner)
				}
			}
			if server.SubjectsCollide(s, "api.>") && strings.ContainsAny(s, "*>") && !ofOneEndpoint(s) ||
				server.SubjectsCollide(s, "http.>") && !ofOneEndpoint(s) && r.Name != roleGateway {
				return fmt.Errorf("natsconf: role %s must not publish %s: name the endpoints", r.Name, s)
			}
		}
		for _, s := range r.Subscribe {
			if !r.Operator && server.SubjectsCollide(s, "_INBOX.>") {
				return fmt.Errorf("natsconf: role %s must not subscribe to %s: an inbox of the nats tool", r.Name, s)
			}
			for other := range seen {
				if other != r.Name && server.SubjectsCollide(s, InboxPrefix(other)+".>") {
					return fmt.Errorf("natsconf: role %s must not subscribe to %s: the inbox of %s", r.Name, s, other)
				}
			}
		}
	}
	return nil
}

// ofOneEndpoint reports whether a subject is of the instances of one endpoint: api.<service>.<endpoint>.*, or http in
// place of api.
func ofOneEndpoint(subject string) bool {
	name, found := strings.CutSuffix(subject, ".*")
	return found && (strings.HasPrefix(name, "api.") || strings.HasPrefix(name, "http.")) &&
		strings.Count(name, ".") == 2 && !strings.ContainsAny(name, "*>")
}

// nextMessage begins the subjects on which a consumer is asked for messages.
const nextMessage = "$JS.API.CONSUMER.MSG.NEXT."

// checkConsumers refuses roles that may take what the consumer of another role is given, or change or delete it. A role
// has the consumers that it names exactly.
func checkConsumers(roles []Role) error {
	for _, owner := range roles {
		for _, s := range owner.Publish {
			consumer, found := namedConsumer(s)
			if !found {
				continue
			}
			stream, _, _ := strings.Cut(consumer, ".")
			touching := []string{s, "$JS.ACK." + consumer + ".1.1.1.1.1",
				"$JS.ACK.domain.account." + consumer + ".1.1.1.1.1.1", "$JS.API.CONSUMER.DURABLE.CREATE." + consumer,
				"$JS.API.CONSUMER.CREATE." + stream, // the name stands in the request then
				"$JS.API.CONSUMER.CREATE." + consumer, "$JS.API.CONSUMER.CREATE." + consumer + ".>",
				"$JS.API.CONSUMER.DELETE." + consumer}
			for _, other := range roles {
				if other.Name == owner.Name || other.Operator {
					continue
				}
				for _, allowed := range other.Publish {
					if slices.ContainsFunc(touching,
						func(t string) bool { return server.SubjectsCollide(t, allowed) }) {
						return fmt.Errorf("natsconf: role %s must not publish %s: the consumer %s belongs to %s",
							other.Name, allowed, consumer, owner.Name)
					}
				}
			}
		}
	}
	return nil
}

// plain reports whether s is a word of [a-z0-9_] that begins with a letter: safe in a subject and as a file name.
func plain(s string) bool {
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || (c != '_' && (c < '0' || c > '9'))) {
			return false
		}
	}
	return s != "" && len(s) <= 32
}
