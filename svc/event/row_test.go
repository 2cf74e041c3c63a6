package event

import (
	"reflect"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
)

// fill gives every part of a value something that is not zero.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Float64:
		v.SetFloat(7)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2031, 1, 2, 3, 4, 5, 0, time.UTC)))
			return
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i))
			}
		}
	}
}

// Whatever an event says is in its row, and comes out of it.
func TestRowsKeepWhatEventsSay(t *testing.T) {
	var e api.Event
	fill(reflect.ValueOf(&e).Elem())
	var r record
	r.Event = e
	got := reflect.ValueOf(rowOf(&r).event())
	want := reflect.ValueOf(e)
	for i := range want.NumField() {
		if name := want.Type().Field(i).Name; !reflect.DeepEqual(got.Field(i).Interface(), want.Field(i).Interface()) {
			t.Errorf("%s: %+v, want %+v", name, got.Field(i), want.Field(i))
		}
	}
}
