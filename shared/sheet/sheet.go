// Package sheet writes tables that people open in a spreadsheet.
package sheet

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"

	"github.com/xuri/excelize/v2"

	"github.com/starlightsymphony/starlight/shared/rpc"
)

// Table is a table of text.
type Table struct {
	Name   string // of its file, without an ending
	Header []string
	Rows   [][]string
}

// TypeCSV is the media type of CSV.
const TypeCSV = "text/csv; charset=utf-8"

// CSV writes a table as RFC 4180, in UTF-8. A cell that a spreadsheet would take for a formula begins with an
// apostrophe.
func CSV(t Table) (*rpc.Blob, error) {
	data, err := Lines(append([][]string{t.Header}, t.Rows...))
	return &rpc.Blob{ContentType: TypeCSV, Filename: t.Name + ".csv", Data: data}, err
}

// Lines writes rows as CSV does, for a file that is made in pieces.
func Lines(rows [][]string) ([]byte, error) {
	var buf bytes.Buffer
	w := csv.NewWriter(&buf)
	for _, row := range rows {
		safe := make([]string, len(row))
		for i, cell := range row {
			safe[i] = defuse(cell)
		}
		if err := w.Write(safe); err != nil {
			return nil, fmt.Errorf("sheet: csv: %w", err)
		}
	}
	w.Flush()
	return buf.Bytes(), w.Error()
}

// defuse keeps a spreadsheet from taking a cell for a formula, or what follows in it where the spreadsheet parts cells
// by semicolons or tabs, as it does in many countries, and knows no quotation marks within one. A plain negative number
// is no formula.
func defuse(cell string) string {
	if !strings.ContainsAny(cell, "=+-@\t\r＝＋－＠") {
		return cell
	}
	if _, err := strconv.ParseFloat(cell, 64); err == nil && cell[0] == '-' {
		return cell
	}
	var b strings.Builder
	first := true // nothing but blanks since the cell began
	for i, r := range cell {
		if first && strings.ContainsRune("=+-@＝＋－＠", r) || i == 0 && (r == '\t' || r == '\r') {
			b.WriteByte('\'')
		}
		b.WriteRune(r)
		first = strings.ContainsRune(";\t\r\n\"", r) || first && r == ' '
	}
	return b.String()
}

// XLSX writes a table as an Excel workbook of one sheet. All cells are text, which is never taken for a formula.
func XLSX(t Table) (*rpc.Blob, error) {
	f := excelize.NewFile()
	defer f.Close()
	w, err := f.NewStreamWriter(f.GetSheetName(0))
	if err != nil {
		return nil, fmt.Errorf("sheet: xlsx: %w", err)
	}
	for i, row := range append([][]string{t.Header}, t.Rows...) {
		cells := make([]any, len(row))
		for k, cell := range row {
			cells[k] = cell
		}
		if err := w.SetRow(fmt.Sprintf("A%d", i+1), cells); err != nil {
			return nil, fmt.Errorf("sheet: xlsx: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return nil, fmt.Errorf("sheet: xlsx: %w", err)
	}
	buf, err := f.WriteToBuffer()
	if err != nil {
		return nil, fmt.Errorf("sheet: xlsx: %w", err)
	}
	return &rpc.Blob{ContentType: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
		Filename: t.Name + ".xlsx", Data: buf.Bytes()}, nil
}
