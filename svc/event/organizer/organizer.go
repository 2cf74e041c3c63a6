// Package organizer keeps who sells: organizers, their members and roles. It shares the database of the event service,
// so that an event and its organizer are made in one transaction, and who may do what at an event is read with it.
package organizer

import (
	"context"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/uptrace/bun"
	"golang.org/x/text/language"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/quota"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/event/pictures"
)

// Deps is what organizers need.
type Deps struct {
	DB     *store.DB
	Client *rpc.Client
	Log    *slog.Logger
	Now    func() time.Time
	Live   *settings.Live

	Pictures *pictures.Pictures
}

// Organizers answers what is asked about organizers.
type Organizers struct {
	db     *store.DB
	client *rpc.Client
	log    *slog.Logger
	now    func() time.Time

	pictures *pictures.Pictures
	quota.Counter
}

// New returns the organizers in a database.
func New(d Deps) *Organizers {
	return &Organizers{db: d.DB, client: d.Client, log: d.Log, now: d.Now, pictures: d.Pictures,
		Counter: quota.Counter{DB: d.DB, Live: d.Live, Now: d.Now}}
}

// Register binds the endpoints about organizers.
func (s *Organizers) Register(srv *rpc.Server) {
	rpc.Handle(srv, api.CreateOrganizer, s.create)
	rpc.Handle(srv, api.ListOrganizers, s.list)
	rpc.Handle(srv, api.GetOrganizer, s.get)
	rpc.Handle(srv, api.GetOrganizerProfile, s.profile)
	rpc.Handle(srv, api.PutLogo, s.setLogo)
	rpc.Handle(srv, api.DeleteLogo, s.deleteLogo)
	rpc.Handle(srv, api.GetOrganizerTeam, func(ctx context.Context, req *api.OfOrganizer) (*api.OrganizerTeam, error) {
		return Team(ctx, s.db.Read(), req.OrganizerID)
	})
	rpc.Handle(srv, api.UpdateOrganizer, s.update)
	rpc.Handle(srv, api.ListOrganizerMembers, s.members)
	rpc.Handle(srv, api.PutOrganizerMember, s.putMember)
	rpc.Handle(srv, api.DeleteOrganizerMember, s.deleteMember)
	rpc.Handle(srv, api.InviteOrganizerMember, s.invite)
	rpc.Handle(srv, api.DeleteOrganizerInvitation, s.uninvite)
	rpc.Handle(srv, api.TransferOrganizer, s.transfer)
	rpc.Handle(srv, api.ListRoles, s.roles)
	rpc.Handle(srv, api.PutRole, s.putRole)
	rpc.Handle(srv, api.DeleteRole, s.deleteRole)
	rpc.Handle(srv, api.CreateAPIKey, s.createKey)
	rpc.Handle(srv, api.ListAPIKeys, s.listKeys)
	rpc.Handle(srv, api.UpdateAPIKey, s.updateKey)
	rpc.Handle(srv, api.DeleteAPIKey, s.deleteKey)
	rpc.Handle(srv, api.RotateAPIKey, s.rotateKey)
	rpc.Handle(srv, api.CheckKey, s.checkKey)
}

// Bounds of organizers. Texts are counted in characters.
const (
	maxName     = 200
	maxAddress  = 500
	maxTaxID    = 50
	maxWebsite  = 500
	maxLanguage = 35
	mostMembers = 200 // they are part of each event that services know
	mostRoles   = 30
)

var (
	slugRule  = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9]){2,62}$`)
	phoneRule = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`) // E.164
	notInSlug = regexp.MustCompile(`[^a-z0-9]+`)
)

type row struct {
	bun.BaseModel `bun:"table:organizers"`

	ID           ids.Organizer `bun:",pk"`
	Slug         string
	Name         string
	LegalName    string
	Address      string
	Country      string
	TaxID        string
	Email        string
	Phone        string
	Website      string
	Currency     string
	Language     string
	Timezone     string
	Revision     int64
	TeamRevision int64
	CreatedAt    time.Time
	UpdatedAt    time.Time
	Selling      api.Selling `bun:"type:text"`
	LogoID       string

	Role string `bun:",scanonly"` // of the caller, in a list
}

func rowOf(o *api.Organizer) *row {
	return &row{ID: o.ID, Slug: o.Slug, Name: o.Name, LegalName: o.LegalName, Address: o.Address, Country: o.Country,
		TaxID: o.TaxID, Email: o.Email, Phone: o.Phone, Website: o.Website, Currency: o.Currency, Language: o.Language,
		Timezone: o.Timezone, Revision: o.Revision, TeamRevision: 1, CreatedAt: o.CreatedAt, UpdatedAt: o.UpdatedAt,
		Selling: sellingOf(o), LogoID: o.Logo.ID}
}

func (r *row) organizer() api.Organizer {
	return api.Organizer{ID: r.ID, Slug: r.Slug, Name: r.Name, LegalName: r.LegalName, Address: r.Address,
		Country: r.Country, TaxID: r.TaxID, Email: r.Email, Phone: r.Phone, Website: r.Website, Currency: r.Currency,
		Language: r.Language, Timezone: r.Timezone, SalesTerms: r.Selling.SalesTerms,
		Logo: r.Selling.Logo, Revision: r.Revision,
		CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC()}
}

func (s *Organizers) create(ctx context.Context, req *api.NewOrganizer) (*api.Organizer, error) {
	now := store.Time(s.now())
	o := api.Organizer{ID: ids.New[ids.OrganizerKind](now), Name: req.Name, Slug: req.Slug, LegalName: req.LegalName,
		Address: req.Address, Country: req.Country, TaxID: req.TaxID, Email: req.Email, Phone: req.Phone,
		Website: req.Website, Currency: req.Currency, Language: req.Language, Timezone: req.Timezone,
		SalesTerms: req.SalesTerms,
		Revision:   1, CreatedAt: now, UpdatedAt: now}
	chosen := o.Slug != ""
	if !chosen {
		o.Slug = slugOf(o.Name, o.ID)
	}
	if err := check(&o); err != nil {
		return nil, err
	}
	owner := rpc.Caller(ctx).User
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		owned := tx.NewRaw("SELECT count(*) FROM organizer_members WHERE user_id = ? AND role = ?", owner,
			api.RoleOwner)
		err := s.Room(ctx, tx, api.OrganizersOwned, owner.String(), "organizers that a person owns", owned)
		if err != nil {
			return err
		}
		err = s.Take(ctx, tx, api.OrganizersPerPerson, owner.String(), "organizers of a person", 1)
		if err != nil {
			return err
		}
		if !chosen {
			if err := freeSlug(ctx, tx, &o); err != nil {
				return err
			}
		}
		if err := idempotency.KeepFor(ctx, tx, api.CreateOrganizer.Success(), o); err != nil {
			return err
		}
		if _, err := s.make(ctx, tx, o, owner); err != nil {
			return err
		}
		return s.auditProfile(ctx, tx, nil, &o)
	})
	if err != nil {
		return nil, err
	}
	return &o, nil
}

// ownSlug is the slug of a person's own organizer: no other can have it.
func ownSlug(id ids.Organizer) string { return strings.TrimPrefix(id.String(), "org_") }

// slugOf makes a slug of a name.
func slugOf(name string, id ids.Organizer) string {
	const most = 40
	slug := notInSlug.ReplaceAllString(text.Fold(name), "-")
	slug = strings.Trim(slug[:min(len(slug), most)], "-")
	if !slugRule.MatchString(slug) {
		return ownSlug(id)
	}
	return slug
}

// freeSlug adds to a slug that is taken what makes it the organizer's own.
func freeSlug(ctx context.Context, tx bun.Tx, o *api.Organizer) error {
	var taken bool
	err := tx.NewRaw("SELECT EXISTS (SELECT 1 FROM organizers WHERE slug = ?)", o.Slug).Scan(ctx, &taken)
	if err == nil && taken {
		o.Slug += "-" + ownSlug(o.ID)[16:]
	}
	return err
}

func errSlugTaken() error {
	f := *fault.From(fault.New(fault.Conflict, "another organizer has this slug"))
	f.Fields = []fault.Field{{Field: "slug", Detail: "is taken"}}
	return &f
}

// check normalizes an organizer, and returns a fault that names every field that breaks a rule.
func check(o *api.Organizer) error {
	o.Name, o.LegalName, o.TaxID = text.Clean(o.Name), text.Clean(o.LegalName), text.Clean(o.TaxID)
	o.Address = text.CleanLines(o.Address)
	o.Slug, o.Email, o.Website = strings.TrimSpace(o.Slug), strings.TrimSpace(o.Email), strings.TrimSpace(o.Website)
	o.Country, o.Currency = strings.ToUpper(o.Country), strings.ToUpper(o.Currency)
	var c fault.Check
	text.CheckLine(&c, "name", o.Name, 1, maxName)
	c.Field(slugRule.MatchString(o.Slug), "slug", "must be 3 to 63 of a-z, 0-9 and single -")
	text.CheckLine(&c, "legal_name", o.LegalName, 0, maxName)
	text.CheckLines(&c, "address", o.Address, 0, maxAddress)
	text.CheckLine(&c, "tax_id", o.TaxID, 0, maxTaxID)
	c.Field(o.Country == "" || text.Country(o.Country), "country", "must be a country code of ISO 3166-1, such as DE")
	c.Field(o.Email == "" || text.Email(o.Email), "email", "must be a mail address")
	c.Field(o.Phone == "" || phoneRule.MatchString(o.Phone), "phone", "must be a number of the form +4930123456")
	c.Field(o.Website == "" || webAddress(o.Website), "website", "must be an address such as https://example.org")
	c.Field(o.Currency == "" || api.KnownCurrency(o.Currency), "currency",
		"must be a currency of ISO 4217, such as EUR")
	c.Field(o.Timezone == "" || text.Zone(o.Timezone), "timezone",
		"must be a time zone of the IANA database, such as Europe/Berlin")
	checkSelling(&c, o)
	if o.Language != "" {
		tag, err := language.Parse(o.Language)
		c.Field(err == nil && len(o.Language) <= maxLanguage && !strings.Contains(o.Language, "_"), "language",
			"must be a language tag such as de or pt-BR")
		o.Language = tag.String()
	}
	return c.Err()
}

func webAddress(s string) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= maxWebsite && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" &&
		u.User == nil && text.Line(s, 1, maxWebsite) == nil
}

// list answers with the organizers of the caller, the oldest first.
func (s *Organizers) list(ctx context.Context, req *api.Page) (*api.List[api.Membership], error) {
	limit, err := store.Limit(req.Limit)
	if err != nil {
		return nil, err
	}
	after, err := store.DecodeIDCursor[ids.OrganizerKind](req.Cursor)
	if err != nil {
		return nil, err
	}
	var rows []struct {
		row
		TeamRow
	}
	err = s.db.Read().NewRaw(`SELECT o.*, m.role AS role, `+Columns("o.id")+` FROM organizer_members AS m
		JOIN organizers AS o ON o.id = m.organizer_id WHERE m.user_id = ? AND m.organizer_id > ?
		ORDER BY m.organizer_id LIMIT ?`, rpc.Caller(ctx).User, after, limit+1).Scan(ctx, &rows)
	if err != nil {
		return nil, store.FaultOf(ctx, err)
	}
	page := &api.List[api.Membership]{Items: []api.Membership{}}
	for i := range rows {
		if i == limit {
			page.NextCursor = store.EncodeCursor(rows[i-1].ID.String())
			break
		}
		r := &rows[i]
		team := r.Team(r.ID)
		page.Items = append(page.Items, api.Membership{Organizer: r.organizer(), Role: r.Role,
			Permissions: team.Permissions(r.Role)})
	}
	return page, nil
}

// load returns an organizer, or a NotFound fault.
func load(ctx context.Context, db bun.IDB, id ids.Organizer) (*api.Organizer, error) {
	var r row
	if err := db.NewSelect().Model(&r).Where("id = ?", id).Scan(ctx); err != nil {
		return nil, store.OrNotFound(err, api.NoSuchOrganizer)
	}
	o := r.organizer()
	return &o, nil
}

func (s *Organizers) get(ctx context.Context, req *api.OrganizerRef) (*api.Organizer, error) {
	if _, err := s.as(ctx, s.db.Read(), req.ID, api.MayReadEvent); err != nil {
		return nil, err
	}
	return load(ctx, s.db.Read(), req.ID)
}

// profile returns an organizer to anybody, once it has published something: until then the name of a person who only
// tries out how to sell is nobody's business.
func (s *Organizers) profile(ctx context.Context, req *api.OrganizerName) (*api.OrganizerProfile, error) {
	var r row
	err := s.db.Read().NewRaw(`SELECT * FROM organizers WHERE (id = ? OR slug = ?) AND EXISTS
		(SELECT 1 FROM events WHERE organizer_id = organizers.id AND status = ?)`, req.Name, req.Name,
		api.EventPublished).Scan(ctx, &r)
	if err != nil {
		return nil, store.OrNotFound(err, api.NoSuchOrganizer)
	}
	return &api.OrganizerProfile{ID: r.ID, Name: r.Name, Slug: r.Slug, Website: r.Website,
		Logo: r.Selling.Logo}, nil
}

// as returns the team of an organizer to a caller who has the permission.
func (s *Organizers) as(ctx context.Context, db bun.IDB, id ids.Organizer, need api.Permission) (*api.OrganizerTeam,
	error) {
	t, err := Team(ctx, db, id)
	if err != nil {
		return nil, err
	}
	return t, t.Require(rpc.Caller(ctx), need)
}

// audit writes a line of the audit log.
func (s *Organizers) audit(ctx context.Context, tx bun.Tx, id ids.Organizer, before, after any) error {
	return auditlog.Add(ctx, tx, "event", auditlog.Act{At: s.now(), Object: id.String(), Before: before, After: after})
}
