package demo

import (
	"fmt"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
)

// place is where an event of the season happens. Everything in it is invented but the cities.
type place struct {
	venue, address, city, country, zone string
	latitude, longitude                 float64
}

// when says when an event is: on the first such weekday that is at least so many days ahead, at that local time.
type when struct {
	days         int
	on           time.Weekday
	hour, minute int
	lasts        time.Duration
}

// start returns the instant, in the zone of now.
func (w when) start(now time.Time) time.Time {
	days := w.days + (int(w.on)-int(now.AddDate(0, 0, w.days).Weekday())+7)%7
	return time.Date(now.Year(), now.Month(), now.Day()+days, w.hour, w.minute, 0, 0, now.Location())
}

// kind is a ticket type of the season.
type kind struct {
	name     string
	price    int64 // in the currency's minor unit
	quantity int
	most     int // in one order
	until    int // days before the event on which its sale ends; 0: not before the event does
}

// show is an event of the season, in the words of its organizer.
type show struct {
	name, category string
	at             place
	when           when
	currency       string
	about          string
	kinds          []kind
}

// Season returns the sample events, with their dates counted from now. The last one is the event of the guided tour.
func Season(now time.Time) ([]api.NewEvent, error) {
	var season []api.NewEvent
	for _, s := range shows() {
		zone, err := time.LoadLocation(s.at.zone)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		season = append(season, s.event(s.when.start(now.In(zone))))
	}
	return season, nil
}

// event returns the show as a client would create it.
func (s show) event(starts time.Time) api.NewEvent {
	e := api.NewEvent{
		Name: s.name, Description: s.about, Category: s.category,
		StartsAt: starts.UTC(), EndsAt: starts.Add(s.when.lasts).UTC(), Timezone: s.at.zone,
		Location: api.Location{Name: s.at.venue, Address: s.at.address, City: s.at.city, Country: s.at.country,
			Latitude: &s.at.latitude, Longitude: &s.at.longitude},
	}
	for _, k := range s.kinds {
		t := api.NewTicketType{Name: k.name, Price: api.Money{Amount: k.price, Currency: s.currency}, Quantity: k.quantity, MaxPerOrder: k.most}
		if k.until > 0 {
			end := starts.AddDate(0, 0, -k.until).UTC()
			t.SalesEnd = &end
		}
		e.Capacity += k.quantity
		e.TicketTypes = append(e.TicketTypes, t)
	}
	return e
}

func shows() []show {
	berlin := place{"Kesselhaus am Kanal", "Uferweg 12", "Berlin", "DE", "Europe/Berlin", 52.4934, 13.4234}
	hamburg := place{"Speicher Neun", "Kaistraße 9", "Hamburg", "DE", "Europe/Berlin", 53.5436, 9.9886}
	london := place{"The Lamplight Rooms", "41 Tallow Lane", "London", "GB", "Europe/London", 51.5246, -0.0784}
	paris := place{"Salle des Tilleuls", "18 rue des Tilleuls", "Paris", "FR", "Europe/Paris", 48.8647, 2.3790}
	madrid := place{"Teatro del Olmo", "Calle del Olmo 7", "Madrid", "ES", "Europe/Madrid", 40.4114, -3.6998}
	newYork := place{"Harbor Loft", "220 Cooper Slip", "New York", "US", "America/New_York", 40.7033, -74.0170}
	chicago := place{"Prairie Hall", "900 W Mill Street", "Chicago", "US", "America/Chicago", 41.8827, -87.6500}
	saoPaulo := place{"Galpão Ipê", "Rua do Ipê 310", "São Paulo", "BR", "America/Sao_Paulo", -23.5617, -46.6823}
	tokyo := place{"Hoshizora Hall", "3-14 Aoba", "Tokyo", "JP", "Asia/Tokyo", 35.6595, 139.7005}
	bengaluru := place{"Banyan Centre", "27 Lake Road", "Bengaluru", "IN", "Asia/Kolkata", 12.9719, 77.6412}
	sydney := place{"Wharf Four", "4 Ferry Street", "Sydney", "AU", "Australia/Sydney", -33.8568, 151.2093}
	lagos := place{"Palm Court", "15 Marina Close", "Lagos", "NG", "Africa/Lagos", 6.4478, 3.4037}
	weidenufer := place{"Seebühne Weidenufer", "Am Weidenufer", "Berlin", "DE", "Europe/Berlin", 52.4263, 13.6475}
	const hour = time.Hour
	return []show{
		{"Nocturne for a Drowned City", "concert", berlin, when{24, time.Friday, 20, 0, 2 * hour}, "EUR",
			"A night of strings and tape loops, written for the old boiler house and played in the round. The audience may " +
				"lie down; blankets are provided. There is no interval.",
			[]kind{
				{"Early bird", 1900, 120, 4, 14},
				{"Standard", 2900, 480, 8, 0},
				{"Front circle", 4900, 60, 4, 0},
			}},
		{"Open Source Sunday", "conference", berlin, when{61, time.Sunday, 10, 0, 8 * hour}, "EUR",
			"One day, three rooms, and talks by people who keep the things running that you use every day. Lunch is soup. " +
				"Bring a laptop for the afternoon, when everybody fixes one bug together.",
			[]kind{
				{"Community", 0, 150, 1, 0},
				{"Supporter", 6000, 150, 2, 0},
			}},
		{"Harbour Lights Half Marathon", "sport", hamburg, when{145, time.Sunday, 9, 0, 5 * hour}, "EUR",
			"Twenty-one kilometres along the water, flat and fast, with a start by the old crane and a finish among the fish " +
				"stalls. Every runner is timed, and every finisher is fed. A relay ticket is for a team of three.",
			[]kind{
				{"Runner", 4500, 3500, 2, 0},
				{"Relay team of three", 9900, 300, 1, 0},
			}},
		{"Letters Never Sent", "theatre", hamburg, when{33, time.Thursday, 19, 30, 2 * hour}, "EUR",
			"Two actors, one table, a hundred letters found in a wall. Each evening the audience draws which ones are read. " +
				"No two performances have been alike so far.",
			[]kind{
				{"Stalls", 3200, 90, 6, 0},
				{"Balcony", 2200, 60, 6, 0},
				{"Student", 1200, 30, 1, 0},
			}},
		{"The Tallow Lane Jazz Club", "concert", london, when{17, time.Friday, 19, 0, 4 * hour}, "GBP",
			"The house quartet and whoever comes by. The doors open at seven, the band begins when the room is full, and the " +
				"last set ends when the last train leaves.",
			[]kind{
				{"Table seat", 2800, 80, 4, 0},
				{"Standing", 1500, 120, 4, 0},
			}},
		{"Small Plates, Big Opinions", "comedy", london, when{40, time.Wednesday, 20, 0, 2 * hour}, "GBP",
			"Five comedians cook for each other and say what they think of it. You get a taste of every dish, and a vote. " +
				"Please tell us of allergies before, not after.",
			[]kind{
				{"General admission", 2250, 180, 6, 0},
			}},
		{"Bookbinding in a Weekend", "workshop", london, when{76, time.Saturday, 10, 0, 31 * hour}, "GBP",
			"Sew, glue and case in your own book, with paper from the mill next door. Two days, nine benches and all tools " +
				"provided; those who come on Saturday only take home a notebook. Thumbs recover by Tuesday.",
			[]kind{
				{"Both days", 18500, 24, 2, 14},
				{"Saturday only", 10500, 8, 2, 0},
				{"Bursary place", 0, 4, 1, 0},
			}},
		{"Les Heures Bleues", "exhibition", paris, when{21, time.Tuesday, 17, 0, 5 * hour}, "EUR",
			"Sixty photographs taken in the twenty minutes after sunset, hung in a room without lamps. Come late in the day " +
				"and stay until you can no longer see them.",
			[]kind{
				{"Plein tarif", 1400, 400, 6, 0},
				{"Tarif réduit", 900, 200, 6, 0},
				{"Moins de 18 ans", 0, 100, 4, 0},
			}},
		{"Chamber Music by Candle", "concert", paris, when{52, time.Saturday, 20, 30, 2 * hour}, "EUR",
			"A string sextet from the end of one century and a quintet from the end of the next, played by six friends. The " +
				"hall has four hundred candles and an excellent fire brigade.",
			[]kind{
				{"Parterre", 3800, 220, 6, 0},
				{"Galerie", 2400, 120, 6, 0},
			}},
		{"La Noche de los Teatros Pequeños", "theatre", madrid, when{47, time.Saturday, 21, 0, 4 * hour}, "EUR",
			"Eleven plays of eleven minutes in eleven rooms. You choose the order at the door and nobody sees everything. The " +
				"bar is the twelfth room.",
			[]kind{
				{"Entrada", 1800, 330, 6, 0},
			}},
		{"Festival of Slow Radio", "festival", newYork, when{88, time.Friday, 18, 30, 52 * hour}, "USD",
			"Three evenings of rain, railways, reed beds and one very long conversation, played through forty loudspeakers in " +
				"a warehouse by the water. Hammocks are first come, first served.",
			[]kind{
				{"Friday evening", 4200, 300, 6, 0},
				{"Saturday evening", 4200, 300, 6, 0},
				{"Sunday evening", 4200, 300, 6, 0},
				{"All three evenings, early", 8500, 150, 4, 30},
				{"All three evenings", 9900, 250, 4, 0},
				{"Hammock", 2500, 40, 1, 0},
			}},
		{"The Pager Summit", "conference", newYork, when{118, time.Thursday, 18, 0, 4 * hour}, "USD",
			"Production stories about queues, clocks and consensus, told by those who were on call. Talks are twenty minutes, " +
				"questions are ten, and every speaker brings one graph that went wrong.",
			[]kind{
				{"Early bird", 29900, 100, 3, 14},
				{"Regular", 44900, 350, 5, 0},
				{"Student", 4900, 50, 1, 0},
			}},
		{"Prairie Wind Band Gala", "concert", chicago, when{66, time.Saturday, 19, 0, 2 * hour}, "USD",
			"Eighty-four players, two tubas more than strictly needed, and marches that have not been heard since the fair. " +
				"Families are welcome, and so is dancing in the aisles.",
			[]kind{
				{"Orchestra", 5500, 700, 8, 0},
				{"Mezzanine", 3500, 500, 8, 0},
				{"Under 12", 1000, 200, 6, 0},
			}},
		{"Night Owls Chess Open", "sport", chicago, when{29, time.Friday, 18, 0, 6 * hour}, "USD",
			"Seven rounds of rapid chess from dusk to midnight, with a section for everyone from beginners to masters. Clocks " +
				"and boards are there; bring your own coffee mug.",
			[]kind{
				{"Player", 3000, 128, 1, 0},
				{"Spectator", 0, 60, 4, 0},
			}},
		{"Samba no Galpão", "concert", saoPaulo, when{38, time.Saturday, 20, 0, 5 * hour}, "BRL",
			"The drums begin outside and bring you in. Four schools share one floor, and between their sets there is food " +
				"from every one of their streets.",
			[]kind{
				{"Pista, 1º lote", 6000, 300, 4, 14},
				{"Pista", 8000, 900, 6, 0},
				{"Mezanino", 14000, 200, 4, 0},
				{"Meia-entrada", 4000, 600, 2, 0},
			}},
		{"Cidade em Traços", "workshop", saoPaulo, when{26, time.Wednesday, 17, 0, 3 * hour}, "BRL",
			"Draw the city from its rooftops in the hour before sunset, with a pencil, an eraser and somebody who knows where " +
				"to look. Paper and drawing boards are provided; beginners sit in the front.",
			[]kind{
				{"Vaga", 12000, 24, 2, 0},
				{"Estudante", 6000, 8, 1, 0},
			}},
		{"Seven Planets, One Orchestra", "concert", tokyo, when{103, time.Friday, 19, 0, 2 * hour}, "JPY",
			"A full orchestra under a dome on which the sky of the same evening turns. The last movement is played in the " +
				"dark, with the choir behind you.",
			[]kind{
				{"S seat", 12000, 400, 4, 0},
				{"A seat", 8500, 800, 6, 0},
				{"B seat", 5500, 600, 6, 0},
			}},
		{"One Bowl: A Ramen Evening", "festival", tokyo, when{19, time.Thursday, 18, 0, 4 * hour}, "JPY",
			"Nine cooks, nine counters, one bowl each and no queue longer than a song. Your ticket has nine stamps; the tenth " +
				"is for the one you want again.",
			[]kind{
				{"Nine bowls", 6800, 270, 4, 0},
				{"Five bowls", 4200, 180, 4, 0},
			}},
		{"Monsoon Raga Night", "concert", bengaluru, when{57, time.Saturday, 19, 30, 4 * hour}, "INR",
			"From the last light to the first rain: an evening of ragas in the order of the hours they belong to. Cushions on " +
				"the floor, chairs along the walls, and tea all night.",
			[]kind{
				{"Cushion", 80000, 300, 6, 0},
				{"Chair", 120000, 150, 6, 0},
				{"Student", 30000, 80, 1, 0},
			}},
		{"Makers' Yard Bengaluru", "exhibition", bengaluru, when{92, time.Saturday, 17, 0, 4 * hour}, "INR",
			"Two hundred builders show what they made this year, from water pumps to synthesizers. Everything may be touched, " +
				"most of it may be taken apart, and some of it is put together again.",
			[]kind{
				{"Visitor", 0, 2500, 5, 0},
				{"Workshop pass", 150000, 120, 2, 0},
			}},
		{"Ferry Street Film Festival", "festival", sydney, when{71, time.Friday, 20, 0, 3 * hour}, "AUD",
			"Short films about long journeys, projected on a sail. If the wind turns, we turn the chairs. Popcorn is " +
				"included, seagulls are not our responsibility.",
			[]kind{
				{"Deck chair", 3500, 350, 6, 0},
				{"Picnic lawn", 1800, 650, 8, 0},
			}},
		{"The Great Southern Quiz", "comedy", sydney, when{15, time.Tuesday, 19, 0, 3 * hour}, "AUD",
			"Teams of six, eight rounds, and one round in which wrong answers count if they are funny. The winners keep the " +
				"lobster until next year. It is not a real lobster.",
			[]kind{
				{"Seat", 2500, 240, 6, 0},
			}},
		{"Highlife on the Marina", "concert", lagos, when{44, time.Saturday, 19, 0, 5 * hour}, "NGN",
			"Horns, talking drums and a guitar that never quite stops. Come dressed to be seen; the best three outfits drink " +
				"for free until the second set.",
			[]kind{
				{"Early bird", 1000000, 300, 4, 21},
				{"Regular", 1500000, 1200, 6, 0},
				{"VIP table of six", 18000000, 40, 1, 0},
			}},
		{"First Lines: Poetry for Beginners", "workshop", lagos, when{23, time.Wednesday, 17, 30, 2 * hour}, "NGN",
			"You write one line, the person next to you writes the next. After two hours there is a poem, and it is read " +
				"aloud by somebody who did not write any of it.",
			[]kind{
				{"Place", 0, 40, 2, 0},
			}},
		{"Symphony under the Stars", "concert", weidenufer, when{214, time.Saturday, 20, 0, 3 * hour}, "EUR",
			"The season's closing night: eighty musicians on a floating stage and forty thousand people on the banks. Bring a " +
				"coat, a light and somebody you like.",
			[]kind{
				{"Lawn, early bird", 1900, 6000, 8, 60},
				{"Lawn", 2500, 30000, 8, 0},
				{"Bridge", 6500, 3500, 6, 0},
				{"Boat", 14000, 500, 4, 0},
			}},
	}
}
