package openapi

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// Comments are what the source of package api says of its types and their fields.
type Comments struct {
	types  map[string]string // by the name of the type
	fields map[string]string // by type.field
}

// ReadComments reads the Go files of a directory.
func ReadComments(dir string) (*Comments, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	c := &Comments{types: map[string]string{}, fields: map[string]string{}}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("openapi: %w", err)
		}
		for _, d := range file.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.TYPE {
				c.readTypes(g)
			}
		}
	}
	return c, nil
}

func (c *Comments) readTypes(g *ast.GenDecl) {
	for _, s := range g.Specs {
		spec := s.(*ast.TypeSpec)
		doc := spec.Doc
		if doc == nil {
			doc = g.Doc
		}
		name := spec.Name.Name
		c.types[name] = ofType(doc)
		structure, ok := spec.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, f := range structure.Fields.List {
			comment := f.Doc
			if comment == nil {
				comment = f.Comment
			}
			for _, field := range f.Names {
				c.fields[name+"."+field.Name] = sentence(comment.Text())
			}
		}
	}
}

// plumbing is the first sentence of a type that only ties it to an endpoint.
var plumbing = regexp.MustCompile(`^\w+ is (the (request|answer) of|its answer)[^.:]*[.:]\s*`)

func ofType(doc *ast.CommentGroup) string {
	return sentence(plumbing.ReplaceAllString(strings.Join(strings.Fields(doc.Text()), " "), ""))
}

// sentence makes a comment, which may begin in lower case and end without a point, a whole sentence on one line.
func sentence(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if text == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(text)
	word, _, _ := strings.Cut(text, " ")
	if !strings.ContainsAny(word, "_.") { // a name of the contract stays as it is
		text = string(unicode.ToUpper(first)) + text[size:]
	}
	if !strings.ContainsAny(text[len(text)-1:], ".!?") {
		text += "."
	}
	return text
}

// Type returns what a named type is.
func (c *Comments) Type(t reflect.Type) string {
	name, _, _ := strings.Cut(t.Name(), "[")
	return c.types[name]
}

// Field returns what a field is: its comment, or if it has none, what its type is.
func (c *Comments) Field(f codec.Field) string {
	name, _, _ := strings.Cut(f.Owner.Name(), "[")
	if text := c.fields[name+"."+f.Name]; text != "" {
		return text
	}
	t := f.Type
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if kind := idKind(t); kind != "" {
		return "Id of the " + kind + "."
	}
	if t.Kind() == reflect.Struct {
		return c.Type(t)
	}
	return ""
}

// idKind returns what an id names, such as "ticket type" for ids.TicketType, or nothing for other types.
func idKind(t reflect.Type) string {
	arg, ok := strings.CutPrefix(t.Name(), "ID[")
	if !ok {
		return ""
	}
	arg = strings.TrimSuffix(arg[strings.LastIndexByte(arg, '.')+1:], "Kind]")
	var words strings.Builder
	for i, r := range arg {
		if unicode.IsUpper(r) && i > 0 {
			words.WriteByte(' ')
		}
		words.WriteRune(unicode.ToLower(r))
	}
	return words.String()
}
