//! Outcomes → what is written down, and which notices are owed. A value in, a value out.
//!
//! | Outcome | time | then |
//! |---|---|---|
//! | delivered | | done; a notice if the sender asked for one |
//! | failed | | done; the NDR |
//! | deferred | before `delay_notice` | pending |
//! | deferred | after it | pending; one notice for the whole message |
//! | deferred | after `expire` | done; the NDR, with what was last heard |
//!
//! Local domains have clocks of their own.
//!
//! Never: a time of its own, a message's text, a queue.

use std::time::Duration;

use postern_config::Definition;
use postern_delivery::notice::{self, Action};
use postern_delivery::{Answer, Handed, Outcome};
use postern_smtp::EnhancedCode;
use postern_spool::{Envelope, LastTry, RecipientStatus};

use super::scheduler::interval;

/// When a sender hears of a delay, and when trying ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) delay_notice: Duration,
    pub(super) expire: Duration,
}

/// The times of one generation.
#[derive(Clone, Debug)]
pub(super) struct Times {
    pub(super) retry: Vec<Duration>,
    pub(super) remote: Clock,
    pub(super) local: Clock,
}

/// One recipient's outcome.
#[derive(Clone, Debug)]
pub(super) struct Tried {
    /// Its place in the envelope.
    pub(super) place: usize,
    pub(super) outcome: Outcome,
    /// Whether the local clock runs for it.
    pub(super) local: bool,
}

/// A notice that is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owed {
    pub(super) place: usize,
    pub(super) action: Action,
    pub(super) status: EnhancedCode,
    pub(super) answer: Answer,
}

/// What became of a message at one attempt.
#[derive(Clone, Debug)]
pub(super) struct Judgement {
    /// What is written down for each recipient that was tried.
    pub(super) statuses: Vec<(usize, RecipientStatus)>,
    /// When the deferred ones are tried next; 0 if there are none.
    pub(super) next: u64,
    /// Notices owed to the sender.
    pub(super) owed: Vec<Owed>,
    /// Recipients that failed while there is nobody to tell: the message becomes badmail.
    pub(super) bad: Vec<Owed>,
    /// Those that ran out of time.
    pub(super) expired: Vec<usize>,
    /// Whether the sender is told of the delay now.
    pub(super) delay_noticed: bool,
}

impl Times {
    /// As the definition says.
    pub(super) fn of(definition: &Definition) -> Times {
        let delivery = &definition.delivery;
        Times {
            retry: delivery.retry.clone(),
            remote: Clock {
                delay_notice: delivery.delay_notice,
                expire: delivery.expire,
            },
            local: Clock {
                delay_notice: delivery.local_delay_notice,
                expire: delivery.local_expire,
            },
        }
    }

    /// The clock that runs for a recipient.
    pub(super) fn clock(&self, local: bool) -> Clock {
        if local { self.local } else { self.remote }
    }

    /// Judges an attempt that ended `now`, the `tries`th before it counted from 0. `noticed`: the sender was told of a
    /// delay before.
    pub(super) fn judge(
        &self,
        now: u64,
        envelope: &Envelope,
        tries: u32,
        noticed: bool,
        tried: &[Tried],
    ) -> Judgement {
        let mut judgement = Judgement {
            statuses: Vec::with_capacity(tried.len()),
            next: 0,
            owed: Vec::new(),
            bad: Vec::new(),
            expired: Vec::new(),
            delay_noticed: false,
        };
        for one in tried {
            let status = match &one.outcome {
                Outcome::Delivered(answer, handed) => {
                    judgement.delivered(envelope, one.place, answer, *handed);
                    RecipientStatus::Done
                }
                Outcome::Failed(answer) => {
                    judgement.failed(envelope, one.place, answer.enhanced, answer);
                    RecipientStatus::Done
                }
                Outcome::Deferred(answer) => {
                    self.deferred(&mut judgement, now, envelope, tries, noticed, one, answer)
                }
            };
            judgement.statuses.push((one.place, status));
        }
        judgement
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "the facts of one line of the table above"
    )]
    fn deferred(
        &self,
        judgement: &mut Judgement,
        now: u64,
        envelope: &Envelope,
        tries: u32,
        noticed: bool,
        tried: &Tried,
        answer: &Answer,
    ) -> RecipientStatus {
        let clock = self.clock(tried.local);
        let expires = envelope.received.saturating_add(ms(clock.expire));
        if now >= expires {
            judgement.expired.push(tried.place);
            // RFC 3463: X.4.7 is a transient code that became final.
            judgement.failed(envelope, tried.place, EnhancedCode(4, 4, 7), answer);
            return RecipientStatus::Done;
        }
        let late = now >= envelope.received.saturating_add(ms(clock.delay_notice));
        if late && !noticed && owed(envelope, tried.place, Action::Delayed) {
            judgement.delay_noticed = true;
            judgement.owed.push(Owed {
                place: tried.place,
                action: Action::Delayed,
                status: answer.enhanced,
                answer: answer.clone(),
            });
        }
        let next = now
            .saturating_add(interval(&self.retry, tries))
            .min(expires);
        judgement.next = if judgement.next == 0 {
            next
        } else {
            judgement.next.min(next)
        };
        let last = LastTry {
            at: now,
            host: answer.host.to_string(),
            reply: answer.to_string(),
        };
        RecipientStatus::Pending { last: Some(last) }
    }
}

impl Judgement {
    fn delivered(&mut self, envelope: &Envelope, place: usize, answer: &Answer, handed: Handed) {
        // RFC 3461 §5.2: who delivers, or hands over to a host that will not report, reports.
        let action = match handed {
            Handed::Mailbox => Action::Delivered,
            Handed::NextWithoutDsn => Action::Relayed,
            Handed::Next => return,
        };
        if owed(envelope, place, action) {
            self.owed.push(Owed {
                place,
                action,
                status: answer.enhanced,
                answer: answer.clone(),
            });
        }
    }

    fn failed(&mut self, envelope: &Envelope, place: usize, status: EnhancedCode, answer: &Answer) {
        let owed_now = Owed {
            place,
            action: Action::Failed,
            status,
            answer: answer.clone(),
        };
        if envelope.sender.is_empty() {
            self.bad.push(owed_now);
        } else if owed(envelope, place, Action::Failed) {
            self.owed.push(owed_now);
        }
    }
}

fn owed(envelope: &Envelope, place: usize, action: Action) -> bool {
    envelope
        .recipients
        .get(place)
        .is_some_and(|recipient| notice::owed(&envelope.sender, recipient.notify, action))
}

/// A time as milliseconds.
pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use postern_spool::{Notify, Recipient};

    use super::*;

    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 60 * MINUTE;

    fn times() -> Times {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        Times {
            retry: [10, 20, 30, 40].map(minutes).to_vec(),
            remote: Clock {
                delay_notice: minutes(12 * 60),
                expire: minutes(48 * 60),
            },
            local: Clock {
                delay_notice: minutes(60),
                expire: minutes(120),
            },
        }
    }

    fn envelope(sender: &str, notify: Notify) -> Envelope {
        let recipient = Recipient {
            address: "b@c".into(),
            notify,
            orcpt: None,
        };
        Envelope::new(sender, vec![recipient.clone(), recipient], 1000)
    }

    fn answer(class: u8) -> Answer {
        Answer::nobody(EnhancedCode(class, 1, 1), "words")
    }

    fn judge(
        envelope: &Envelope,
        after: u64,
        tries: u32,
        noticed: bool,
        local: bool,
        outcome: Outcome,
    ) -> Judgement {
        times().judge(
            1000 + after,
            envelope,
            tries,
            noticed,
            &[Tried {
                place: 1,
                outcome,
                local,
            }],
        )
    }

    #[test]
    fn the_schedule_is_walked_and_its_last_step_repeated() {
        let from = envelope("a@b", Notify::UNSAID);
        for (tries, want) in [(0, 10), (1, 20), (2, 30), (3, 40), (9, 40)] {
            let judgement = judge(&from, 0, tries, false, false, Outcome::Deferred(answer(4)));
            assert_eq!(judgement.next, 1000 + want * MINUTE);
            assert!(judgement.owed.is_empty());
            assert!(matches!(
                &judgement.statuses[..],
                [(1, RecipientStatus::Pending { last: Some(_) })]
            ));
        }
    }

    #[test]
    fn a_delay_is_told_once_and_expiry_is_a_failure() {
        let from = envelope("a@b", Notify::UNSAID);
        for (after, noticed, local, want) in [
            (11 * HOUR, false, false, None),
            (12 * HOUR, false, false, Some(Action::Delayed)),
            (12 * HOUR, true, false, None),
            (HOUR, false, true, Some(Action::Delayed)),
            (2 * HOUR, true, true, Some(Action::Failed)),
            (48 * HOUR, true, false, Some(Action::Failed)),
        ] {
            let judgement = judge(
                &from,
                after,
                5,
                noticed,
                local,
                Outcome::Deferred(answer(4)),
            );
            assert_eq!(
                judgement.owed.first().map(|owed| owed.action),
                want,
                "{after} {noticed} {local}"
            );
            let expired = want == Some(Action::Failed);
            assert_eq!(judgement.expired == [1], expired);
            assert_eq!(judgement.delay_noticed, want == Some(Action::Delayed));
            assert_eq!(judgement.next == 0, expired);
            if expired {
                assert_eq!(judgement.owed[0].status, EnhancedCode(4, 4, 7));
            }
        }
    }

    #[test]
    fn the_last_try_comes_when_the_time_runs_out() {
        let from = envelope("a@b", Notify::UNSAID);
        let judgement = judge(
            &from,
            48 * HOUR - MINUTE,
            5,
            true,
            false,
            Outcome::Deferred(answer(4)),
        );
        assert_eq!(judgement.next, 1000 + 48 * HOUR);
    }

    #[test]
    fn who_has_no_sender_is_not_answered() {
        let null = envelope("", Notify::UNSAID);
        let judgement = judge(&null, 0, 0, false, false, Outcome::Failed(answer(5)));
        assert!(judgement.owed.is_empty());
        assert_eq!(judgement.bad.len(), 1);
        assert!(
            judge(
                &null,
                13 * HOUR,
                0,
                false,
                false,
                Outcome::Deferred(answer(4))
            )
            .owed
            .is_empty()
        );
    }

    #[test]
    fn notify_is_honoured() {
        let delivered = |handed| Outcome::Delivered(answer(2), handed);
        for (notify, outcome, want) in [
            (Notify::NEVER, Outcome::Failed(answer(5)), None),
            (Notify::SUCCESS, Outcome::Failed(answer(5)), None),
            (
                Notify::SUCCESS,
                delivered(Handed::Mailbox),
                Some(Action::Delivered),
            ),
            (
                Notify::SUCCESS,
                delivered(Handed::NextWithoutDsn),
                Some(Action::Relayed),
            ),
            (Notify::SUCCESS, delivered(Handed::Next), None),
            (Notify::UNSAID, delivered(Handed::Mailbox), None),
        ] {
            let judgement = judge(&envelope("a@b", notify), 0, 0, false, false, outcome);
            assert_eq!(
                judgement.owed.first().map(|owed| owed.action),
                want,
                "{notify:?}"
            );
            assert!(judgement.bad.is_empty());
        }
    }
}
