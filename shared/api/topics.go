package api

import (
	"reflect"
	"slices"
)

// TopicDescriptor is a Topic without its type parameter, for those who list all of them.
type TopicDescriptor struct {
	Subject string
	Summary string
	Payload reflect.Type
}

// Describe returns the descriptor of a topic.
func (t Topic[T]) Describe() TopicDescriptor {
	return TopicDescriptor{Subject: t.Subject, Summary: t.Summary, Payload: reflect.TypeFor[T]()}
}

// Topics returns every kind of domain event in reading order.
func Topics() []TopicDescriptor {
	return slices.Concat(userTopics(), eventTopics(), ticketingTopics(), paymentTopics(),
		[]TopicDescriptor{WebhookWasDisabled.Describe()})
}

func userTopics() []TopicDescriptor {
	return []TopicDescriptor{UserRegistered.Describe(), UserUpdated.Describe(), UserDeleted.Describe(),
		PasswordChanged.Describe(), EmailConfirmationRequested.Describe(), PasswordResetRequested.Describe(),
		DeviceWasAdded.Describe(), LoginsHaveFailed.Describe(), PhoneConfirmationRequested.Describe(),
		PhoneChanged.Describe(), FactorWasAdded.Describe(), FactorWasRemoved.Describe(),
		IdentityWasLinked.Describe(), IdentityWasUnlinked.Describe(),
		FactorsHaveFailed.Describe(), RecoveryCodeWasUsed.Describe()}
}

func eventTopics() []TopicDescriptor {
	return []TopicDescriptor{EventCreated.Describe(), EventUpdated.Describe(), EventWasPublished.Describe(),
		EventWasCancelled.Describe(), EventDeleted.Describe(), OrganizerTeamChanged.Describe()}
}

func ticketingTopics() []TopicDescriptor {
	return append([]TopicDescriptor{OrderWasHeld.Describe(), OrderWasPaid.Describe(), OrderWasSold.Describe(),
		TicketsWereRequested.Describe(), CancellationWasDeclined.Describe(), TicketsWereExchanged.Describe(),
		OrderIsDue.Describe(), OrderHasExpired.Describe(), OrderWasCancelled.Describe(), OrderRefundDue.Describe(),
		OrderWasRefunded.Describe(), TicketWasRevoked.Describe(), TicketTransferred.Describe(),
		TicketAdmission.Describe(), TicketAdmissionUndone.Describe(), TicketOffered.Describe(),
		TicketOfferEnded.Describe()}, guestTopics()...)
}

func paymentTopics() []TopicDescriptor {
	return []TopicDescriptor{PaymentHasSucceeded.Describe(), PaymentHasFailed.Describe(), PaymentWasRefunded.Describe(),
		PaymentReminderDue.Describe(), RefundHasSucceeded.Describe(), RefundHasFailed.Describe(),
		PaymentDisputed.Describe()}
}
