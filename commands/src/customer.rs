//! People: erasing what the log knows of one.

use domain::customer::{Subject, SubjectCommand};
use domain::id::SubjectId;
use domain::personal::Purpose;

use crate::answer::Refusal;
use crate::streams::{Stop, Streams};

/// Says that a person's data is to be erased. The keys are destroyed after this has landed, by the caller at once and by
/// the reactor in any case.
pub fn erase(streams: &mut Streams<'_>, subject_id: SubjectId) -> Result<(), Stop> {
    let id = subject_id.to_string();
    for purpose in [Purpose::Account, Purpose::Order] {
        let events = streams.get::<Subject>(&id)?.decide(SubjectCommand::Erase { purpose });
        streams.emit::<Subject>(&id, events.map_err(|e| Refusal::new("subject_erased", e.to_string()))?, None)?;
    }
    Ok(())
}
