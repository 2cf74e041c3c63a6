package pages

import (
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// filled is a form as it is shown: as it was sent, or with what is stored.
type filled struct {
	v      *visit
	stored map[string]string
}

// Of returns what stands in a field; that of a ticked box is yes.
func (f filled) Of(name string) string {
	if f.v.RC.IsPost() {
		return f.v.form(name)
	}
	return f.stored[name]
}

// fields reads what was written into a form, and notes what is wrong with it.
type fields struct {
	*visit
	check    fault.Check
	zone     *time.Location
	currency string
}

// fieldsOf reads times in the zone of an event, and amounts in its currency.
func (v *visit) fieldsOf(e *api.Event) (*fields, error) {
	zone, err := time.LoadLocation(e.Timezone)
	return &fields{visit: v, zone: zone, currency: currencyOf(e)}, err
}

// machineFields reads forms about machines, whose days and times are those of UTC.
func (v *visit) machineFields() *fields { return &fields{visit: v, zone: time.UTC} }

// fieldsHere is fieldsOf of the event of the page's address.
func (v *visit) fieldsHere() (*api.Event, *fields, error) {
	e, err := v.eventHere()
	if err != nil {
		return nil, nil, err
	}
	f, err := v.fieldsOf(e)
	return e, f, err
}

func (f *fields) text(name string) string { return strings.TrimSpace(f.form(name)) }

// chosen reads a file; nil is one that is not there.
func (f *fields) chosen(name string) []byte {
	parts, err := f.multipart()
	if err != nil || len(parts.File[name]) == 0 {
		return nil
	}
	in, err := parts.File[name][0].Open()
	if err != nil {
		return nil
	}
	defer in.Close()
	data, err := io.ReadAll(in) // of a body that is in memory
	f.check.Field(err == nil, name, "cannot be read")
	return data
}

// file reads a file that has to be there.
func (f *fields) file(name string) []byte {
	data := f.chosen(name)
	f.check.Field(len(data) > 0, name, "must be a file that is not empty")
	return data
}

func (f *fields) ticked(name string) bool { return f.form(name) == "yes" }

// number reads a number that has to be there, and to be so large.
func (f *fields) number(name string, least int) int {
	n, err := strconv.Atoi(f.text(name))
	f.check.Field(err == nil && n >= least, name, "must be a number, %d or more", least)
	return n
}

// limit reads a number; 0 is one that is not there.
func (f *fields) limit(name string) int {
	if f.text(name) == "" {
		return 0
	}
	return f.number(name, 0)
}

// amount reads money that has to be there, with a point or a comma.
func (f *fields) amount(name string) api.Money {
	m, err := api.ParseMoney(strings.ReplaceAll(f.text(name), ",", "."), f.currency)
	f.check.Field(err == nil && m.Amount >= 0, name, "must be an amount such as 12.50")
	return m
}

// percent reads a number with up to three decimals, which the endpoint judges.
func (f *fields) percent(name string) string {
	return strings.TrimSpace(strings.TrimSuffix(strings.ReplaceAll(f.text(name), ",", "."), "%"))
}

// moment reads a time; null is one that is not there.
func (f *fields) moment(name string) codec.Patch[time.Time] {
	if f.text(name) == "" {
		return codec.Clear[time.Time]()
	}
	t, err := time.ParseInLocation(local, f.text(name), f.zone)
	f.check.Field(err == nil, name, "must be a day and a time")
	return codec.To(t)
}

// day reads the begin of a day; nil is one that is not there.
func (f *fields) day(name string) *time.Time {
	if f.text(name) == "" {
		return nil
	}
	t, err := time.ParseInLocation(time.DateOnly, f.text(name), f.zone)
	f.check.Field(err == nil, name, "must be a day")
	return &t
}

// tax reads a tax; null is one without a rate.
func (f *fields) tax(prefix string) codec.Patch[api.Tax] {
	rate := f.percent(prefix + "rate")
	if rate == "" {
		return codec.Clear[api.Tax]()
	}
	return codec.To(api.Tax{Name: f.text(prefix + "name"), Rate: rate, Included: f.ticked(prefix + "included"),
		ReverseCharge: f.ticked(prefix + "reverse")})
}

// The texts of fields: nothing is said of what is none.

func numberText[N int | int64](n N) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(int64(n), 10)
}

func tickText(on bool) string {
	if on {
		return "yes"
	}
	return ""
}

func momentText(t *time.Time, zone *time.Location) string {
	if t == nil {
		return ""
	}
	return t.In(zone).Format(local)
}

func taxTexts(into map[string]string, prefix string, t api.Tax) {
	into[prefix+"name"], into[prefix+"rate"], into[prefix+"included"] = t.Name, t.Rate, tickText(t.Included)
	into[prefix+"reverse"] = tickText(t.ReverseCharge)
}
