package sheet

import (
	"bytes"
	"encoding/csv"
	"reflect"
	"testing"

	"github.com/xuri/excelize/v2"
)

func TestFormats(t *testing.T) {
	table := Table{Name: "guests", Header: []string{"name", "n"},
		Rows: [][]string{{"Ada, \"A\"", "-1"}, {"=1+1", "+1"}, {"@x", ""}, {"\tx", "-x"}, {"Łódź 音", "2"},
			{"\rx", "-5+2"}, {"A;=1+1", "a\t@x"}, {" =1", "-12.50"}, {"＝1", "a;\"=1"}, {"a-b;c=d", "x; -y"}}}
	blob, err := CSV(table)
	if err != nil {
		t.Fatal(err)
	}
	got, err := csv.NewReader(bytes.NewReader(blob.Data)).ReadAll()
	want := [][]string{{"name", "n"}, {"Ada, \"A\"", "-1"}, {"'=1+1", "'+1"}, {"'@x", ""}, {"'\tx", "'-x"},
		{"Łódź 音", "2"}, {"'\rx", "'-5+2"}, {"A;'=1+1", "a\t'@x"}, {" '=1", "-12.50"}, {"'＝1", "a;\"'=1"},
		{"a-b;c=d", "x; '-y"}}
	if err != nil || !reflect.DeepEqual(got, want) || blob.Filename != "guests.csv" {
		t.Errorf("CSV %q of %q, %v", got, blob.Filename, err)
	}

	if blob, err = XLSX(table); err != nil {
		t.Fatal(err)
	}
	f, err := excelize.OpenReader(bytes.NewReader(blob.Data))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := f.GetRows(f.GetSheetName(0))
	if err != nil || len(rows) != 11 || rows[2][0] != "=1+1" || rows[5][0] != "Łódź 音" {
		t.Errorf("XLSX %q, %v", rows, err)
	}
	if formula, err := f.GetCellFormula(f.GetSheetName(0), "A3"); err != nil || formula != "" {
		t.Errorf("a cell became the formula %q, %v", formula, err)
	}
}
