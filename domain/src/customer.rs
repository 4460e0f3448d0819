//! Subjects: the people whom personal facts are about.
//!
//! A guest's subject is made with the cart; an account links the subjects of one person. Erasing is an
//! event here and the destruction of a key elsewhere.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::event::Root;
use crate::id::SubjectId;
use crate::personal::Purpose;

/// Two subjects are one person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectLinked {
    pub from: SubjectId,
    pub to: SubjectId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectErased {
    pub purpose: Purpose,
}

events! {
    /// What happened to a subject.
    pub enum SubjectEvent {
        SubjectLinked(SubjectLinked) = "SubjectLinked", 1;
        SubjectErased(SubjectErased) = "SubjectErased", 1;
    }
}

/// Wishes that are fulfilled already are no-ops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectCommand {
    Link { from: SubjectId, to: SubjectId },
    Erase { purpose: Purpose },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectRejection {
    #[error("the person's account was erased")]
    Erased,
    #[error("a subject can't be linked to itself")]
    LinkedToItself,
}

impl SubjectRejection {
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Erased => "subject_erased",
            Self::LinkedToItself => "subject_linked_to_itself",
        }
    }
}

/// A person, as far as the log knows one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The subjects that are the same person.
    pub linked: BTreeSet<SubjectId>,
    pub erased: BTreeSet<Purpose>,
}

impl Subject {
    pub fn decide(&self, command: SubjectCommand) -> Result<Vec<SubjectEvent>, SubjectRejection> {
        match command {
            SubjectCommand::Link { from, to } if from == to => Err(SubjectRejection::LinkedToItself),
            SubjectCommand::Link { .. } if self.erased.contains(&Purpose::Account) => Err(SubjectRejection::Erased),
            SubjectCommand::Link { from, to } => {
                let known = self.linked.contains(&to);
                let linked = SubjectEvent::SubjectLinked(SubjectLinked { from, to });
                Ok(if known { vec![] } else { vec![linked] })
            }
            SubjectCommand::Erase { purpose } => {
                let known = self.erased.contains(&purpose);
                let erased = SubjectEvent::SubjectErased(SubjectErased { purpose });
                Ok(if known { vec![] } else { vec![erased] })
            }
        }
    }

    pub fn apply(&mut self, event: &SubjectEvent) {
        match event {
            SubjectEvent::SubjectLinked(linked) => {
                self.linked.insert(linked.to);
            }
            SubjectEvent::SubjectErased(erased) => {
                self.erased.insert(erased.purpose);
            }
        }
    }
}

aggregate!(Subject = "subject", SubjectCommand => SubjectEvent, SubjectRejection);

impl Root for Subject {
    const CONTEXT: &'static str = "customer";
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    fn subject(n: u128) -> SubjectId {
        SubjectId::new(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn linking_the_same_subject_twice_appends_nothing() {
        let linked = SubjectLinked { from: subject(1), to: subject(2) };
        TestFramework::<Subject>::with(())
            .given(vec![SubjectEvent::SubjectLinked(linked)])
            .when(SubjectCommand::Link { from: subject(1), to: subject(2) })
            .then_expect_events(vec![]);
    }

    #[test]
    fn an_account_is_erased_while_its_orders_stay() {
        let erased = SubjectEvent::SubjectErased(SubjectErased { purpose: Purpose::Account });
        TestFramework::<Subject>::with(())
            .given_no_previous_events()
            .when(SubjectCommand::Erase { purpose: Purpose::Account })
            .then_expect_events(vec![erased]);
    }

    #[test]
    fn nobody_is_linked_to_an_erased_account() {
        let erased = SubjectEvent::SubjectErased(SubjectErased { purpose: Purpose::Account });
        TestFramework::<Subject>::with(())
            .given(vec![erased])
            .when(SubjectCommand::Link { from: subject(1), to: subject(2) })
            .then_expect_error(SubjectRejection::Erased);
    }
}
