package user

import (
	"context"
	"strconv"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
)

// demographics tells what people agreed to be counted by. Who did not agree, or is not there any more, is left out.
func (s *Service) demographics(ctx context.Context, req *api.PeopleRef) (*api.List[api.PersonTraits], error) {
	const most = 500
	var check fault.Check
	check.Field(len(req.UserIDs) <= most, "user_ids", "must be at most %d", most)
	if err := check.Err(); err != nil {
		return nil, err
	}
	out := &api.List[api.PersonTraits]{Items: []api.PersonTraits{}}
	if len(req.UserIDs) == 0 {
		return out, nil
	}
	var rows []userRow
	err := s.db.Read().NewSelect().Model(&rows).Where("id IN (?)",
		bun.List(req.UserIDs)).Where("share_demographics = ?", true).Scan(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		out.Items = append(out.Items, api.PersonTraits{UserID: r.ID, AgeBand: ageBand(r.BirthYear, s.now().Year()),
			Country: r.Country, City: r.City})
	}
	return out, nil
}

// ageBand returns the age band of a year of birth; "" for none.
func ageBand(born, year int) string {
	age := year - born
	if born == 0 || age < 0 || age > 130 {
		return ""
	}
	lows := []int{0, 18, 25, 35, 45, 55, 65}
	for i := len(lows) - 1; i >= 0; i-- {
		switch {
		case age < lows[i]:
		case i == len(lows)-1:
			return "65+"
		case i == 0:
			return "under 18"
		default:
			return strconv.Itoa(lows[i]) + "-" + strconv.Itoa(lows[i+1]-1)
		}
	}
	return ""
}
