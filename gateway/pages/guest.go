package pages

import (
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// guestAge is how long a browser remembers the order that a link from a mail has opened.
const guestAge = 30 * 24 * time.Hour

// token returns what the page is asked for with: the token of its order, or the access token.
func (v *visit) token() string {
	if v.guest != "" {
		return v.guest
	}
	return v.access
}

// openOrder finds the token of the order that a page is about. A token in the address goes into a cookie, and the
// browser is sent on without it, so that it is not in its history or what it tells others: then it reports true.
func (v *visit) openOrder(route Route) bool {
	about := strings.HasPrefix(route.Path, "/orders/{id}")
	if !about && !strings.HasPrefix(route.Path, "/tickets/{id}") {
		return false
	}
	if token := v.query("token"); about && route.Method == "GET" && strings.HasPrefix(token, api.OrderTokenPrefix) {
		id, err := ids.Parse[ids.OrderKind](v.Param("id"))
		if err != nil || len(token) > 64 {
			return false
		}
		v.keepOrder(id, token)
		v.redirect(string(v.RC.Path()))
		return true
	}
	id, token, _ := strings.Cut(v.cookie(orderCookie), ".")
	if about && id == v.Param("id") || !about && v.access == "" {
		v.guest = token
	}
	return false
}

// keepOrder remembers the token of an order.
func (v *visit) keepOrder(id ids.Order, token string) {
	v.setCookie(orderCookie, id.String()+"."+token, guestAge)
}

// closeOrder forgets the token of an order that is not good any more.
func (v *visit) closeOrder() {
	v.guest = ""
	v.setCookie(orderCookie, "", 0)
}
