package demo

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
)

// place is where an event of the season happens. Everything in it is invented but the cities.
type place struct {
	venue, address, city, country, zone string
	latitude, longitude                 float64
}

// kind is a ticket type of the season. earlyBird ends its sale two weeks before the event.
type kind struct {
	name      string
	price     int64 // minor units
	quantity  int
	most      int
	earlyBird bool
}

// show is an event of the season, in the words of its organizer. It starts at the local hour, so many days from now.
type show struct {
	name, category, description string
	at                          place
	days, hour, minute          int
	lasts                       time.Duration
	currency                    string
	kinds                       []kind
}

// Season returns the sample events, with their dates counted from now.
func Season(now time.Time) ([]api.NewEvent, error) {
	var out []api.NewEvent
	for _, s := range shows() {
		zone, err := time.LoadLocation(s.at.zone)
		if err != nil {
			return nil, err
		}
		day := now.In(zone).AddDate(0, 0, s.days)
		starts := time.Date(day.Year(), day.Month(), day.Day(), s.hour, s.minute, 0, 0, zone)
		e := api.NewEvent{Name: s.name, Description: s.description, Category: s.category, StartsAt: starts.UTC(), EndsAt: starts.Add(s.lasts).UTC(), Timezone: s.at.zone,
			Location: api.Location{Name: s.at.venue, Address: s.at.address, City: s.at.city, Country: s.at.country, Latitude: &s.at.latitude, Longitude: &s.at.longitude}}
		for _, k := range s.kinds {
			t := api.NewTicketType{Name: k.name, Price: api.Money{Amount: k.price, Currency: s.currency}, Quantity: k.quantity, MaxPerOrder: k.most}
			if k.earlyBird {
				end := starts.AddDate(0, 0, -14).UTC()
				t.SalesEnd = &end
			}
			e.Capacity += k.quantity
			e.TicketTypes = append(e.TicketTypes, t)
		}
		out = append(out, e)
	}
	return out, nil
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
	const hour = time.Hour
	return []show{
		{"Nocturne for a Drowned City", "concert", "A night of strings and tape loops, written for the old boiler house and played in the round. The audience may lie down; blankets are provided. There is no interval.",
			berlin, 24, 20, 0, 2 * hour, "EUR", []kind{{"Early bird", 1900, 120, 4, true}, {"Standard", 2900, 480, 8, false}, {"Front circle", 4900, 60, 4, false}}},
		{"Open Source Sunday", "conference", "One day, three rooms, and talks by people who keep the things running that you use every day. Lunch is soup. Bring a laptop for the afternoon, when everybody fixes one bug together.",
			berlin, 61, 10, 0, 8 * hour, "EUR", []kind{{"Community", 0, 150, 1, false}, {"Supporter", 6000, 150, 2, false}}},
		{"Harbour Lights Half Marathon", "sport", "Twenty-one kilometres along the water, flat and fast, with a start by the old crane and a finish among the fish stalls. Every runner is timed, and every finisher is fed.",
			hamburg, 145, 18, 0, 5 * hour, "EUR", []kind{{"Runner", 4500, 3500, 2, false}, {"Relay team of three", 9900, 300, 1, false}}},
		{"Letters Never Sent", "theatre", "Two actors, one table, a hundred letters found in a wall. Each evening the audience draws which ones are read. No two performances have been alike so far.",
			hamburg, 33, 19, 30, 2 * hour, "EUR", []kind{{"Stalls", 3200, 90, 6, false}, {"Balcony", 2200, 60, 6, false}, {"Student", 1200, 30, 1, false}}},
		{"The Tallow Lane Jazz Club", "concert", "The house quartet and whoever comes by. The doors open at seven, the band begins when the room is full, and the last set ends when the last train leaves.",
			london, 17, 19, 0, 4 * hour, "GBP", []kind{{"Table seat", 2800, 80, 4, false}, {"Standing", 1500, 120, 4, false}}},
		{"Small Plates, Big Opinions", "comedy", "Five comedians cook for each other and say what they think of it. You get a taste of every dish, and a vote. Please tell us of allergies before, not after.",
			london, 40, 20, 0, 2 * hour, "GBP", []kind{{"General admission", 2250, 180, 6, false}}},
		{"Bookbinding in a Weekend", "workshop", "Sew, glue and case in your own book, with paper from the mill next door. Two days, ten people, all tools provided. You go home with a book and slightly sore thumbs.",
			london, 76, 18, 0, 3 * hour, "GBP", []kind{{"Place at the bench", 18500, 10, 2, false}, {"Bursary place", 0, 2, 1, false}}},
		{"Les Heures Bleues", "exhibition", "Sixty photographs taken in the twenty minutes after sunset, hung in a room without lamps. Come late in the day and stay until you can no longer see them.",
			paris, 21, 17, 0, 5 * hour, "EUR", []kind{{"Plein tarif", 1400, 400, 6, false}, {"Tarif réduit", 900, 200, 6, false}, {"Moins de 18 ans", 0, 100, 4, false}}},
		{"Chamber Music by Candle", "concert", "A string sextet from the end of one century and a quintet from the end of the next, played by six friends. The hall has four hundred candles and an excellent fire brigade.",
			paris, 52, 20, 30, 2 * hour, "EUR", []kind{{"Parterre", 3800, 220, 6, false}, {"Galerie", 2400, 120, 6, false}}},
		{"La Noche de los Teatros Pequeños", "theatre", "Eleven plays of eleven minutes in eleven rooms. You choose the order at the door and nobody sees everything. The bar is the twelfth room.",
			madrid, 47, 21, 0, 4 * hour, "EUR", []kind{{"Entrada", 1800, 330, 6, false}}},
		{"Festival of Slow Radio", "festival", "Three evenings of rain, railways, reed beds and one very long conversation, played through forty loudspeakers in a warehouse by the water. Hammocks are first come, first served.",
			newYork, 88, 18, 30, 5 * hour, "USD", []kind{{"Evening pass", 4200, 900, 6, false}, {"All three evenings", 9900, 400, 4, false}, {"Hammock", 2500, 40, 1, false}}},
		{"Go Systems Summit", "conference", "Production stories about queues, clocks and consensus, told by those who were on call. Talks are twenty minutes, questions are ten, and every speaker brings one graph that went wrong.",
			newYork, 118, 18, 0, 4 * hour, "USD", []kind{{"Early bird", 29900, 100, 3, true}, {"Regular", 44900, 350, 5, false}, {"Student", 4900, 50, 1, false}}},
		{"Prairie Wind Band Gala", "concert", "Eighty-four players, two tubas more than strictly needed, and marches that have not been heard since the fair. Families are welcome, and so is dancing in the aisles.",
			chicago, 66, 19, 0, 2 * hour, "USD", []kind{{"Orchestra", 5500, 700, 8, false}, {"Mezzanine", 3500, 500, 8, false}, {"Under 12", 1000, 200, 6, false}}},
		{"Night Owls Chess Open", "sport", "Seven rounds of rapid chess from dusk to midnight, with a section for everyone from beginners to masters. Clocks and boards are there; bring your own coffee mug.",
			chicago, 29, 18, 0, 6 * hour, "USD", []kind{{"Player", 3000, 128, 1, false}, {"Spectator", 0, 60, 4, false}}},
		{"Samba no Galpão", "concert", "The drums begin outside and bring you in. Four schools share one floor, and between their sets there is food from every one of their streets.",
			saoPaulo, 38, 20, 0, 5 * hour, "BRL", []kind{{"Pista", 8000, 1200, 6, false}, {"Mezanino", 14000, 200, 4, false}, {"Meia-entrada", 4000, 600, 2, false}}},
		{"Cidade em Traços", "workshop", "Draw the city from its rooftops with a pencil, an eraser and somebody who knows where to look. Paper and drawing boards are provided; beginners sit in the front.",
			saoPaulo, 26, 17, 0, 3 * hour, "BRL", []kind{{"Vaga", 12000, 24, 2, false}}},
		{"Starfield Orchestra plays the Planets", "concert", "A full orchestra under a dome on which the sky of the same evening turns. The last movement is played in the dark, with the choir behind you.",
			tokyo, 103, 19, 0, 2 * hour, "JPY", []kind{{"S seat", 12000, 400, 4, false}, {"A seat", 8500, 800, 6, false}, {"B seat", 5500, 600, 6, false}}},
		{"One Bowl: A Ramen Evening", "festival", "Nine cooks, nine counters, one bowl each and no queue longer than a song. Your ticket has nine stamps; the tenth is for the one you want again.",
			tokyo, 19, 18, 0, 4 * hour, "JPY", []kind{{"Nine bowls", 6800, 270, 4, false}, {"Five bowls", 4200, 180, 4, false}}},
		{"Monsoon Raga Night", "concert", "From the last light to the first rain: an evening of ragas in the order of the hours they belong to. Cushions on the floor, chairs along the walls, and tea all night.",
			bengaluru, 57, 19, 30, 4 * hour, "INR", []kind{{"Cushion", 80000, 300, 6, false}, {"Chair", 120000, 150, 6, false}, {"Student", 30000, 80, 1, false}}},
		{"Makers' Yard Bengaluru", "exhibition", "Two hundred builders show what they made this year, from water pumps to synthesizers. Everything may be touched, most of it may be taken apart, and some of it is put together again.",
			bengaluru, 92, 17, 0, 4 * hour, "INR", []kind{{"Visitor", 0, 2500, 5, false}, {"Workshop pass", 150000, 120, 2, false}}},
		{"Ferry Street Film Festival", "festival", "Short films about long journeys, projected on a sail. If the wind turns, we turn the chairs. Popcorn is included, seagulls are not our responsibility.",
			sydney, 71, 20, 0, 3 * hour, "AUD", []kind{{"Deck chair", 3500, 350, 6, false}, {"Picnic lawn", 1800, 650, 8, false}}},
		{"The Great Southern Quiz", "comedy", "Teams of six, eight rounds, and one round in which wrong answers count if they are funny. The winners keep the lobster until next year. It is not a real lobster.",
			sydney, 15, 19, 0, 3 * hour, "AUD", []kind{{"Seat", 2500, 240, 6, false}}},
		{"Highlife on the Marina", "concert", "Horns, talking drums and a guitar that never quite stops. Come dressed to be seen; the best three outfits drink for free until the second set.",
			lagos, 44, 19, 0, 5 * hour, "NGN", []kind{{"Regular", 1500000, 1500, 6, false}, {"Table of six", 18000000, 40, 1, false}}},
		{"First Lines: Poetry for Beginners", "workshop", "You write one line, the person next to you writes the next. After two hours there is a poem, and it is read aloud by somebody who did not write any of it.",
			lagos, 23, 17, 30, 2 * hour, "NGN", []kind{{"Place", 0, 40, 2, false}}},
		{"Symphony under the Stars", "concert", "The season's closing night: eighty musicians on a floating stage and forty thousand people on the banks. Bring a coat, a light and somebody you like.",
			berlin, 214, 20, 0, 3 * hour, "EUR", []kind{{"Lawn", 2500, 36000, 8, false}, {"Bridge", 6500, 3500, 6, false}, {"Boat", 14000, 500, 4, false}}},
	}
}
