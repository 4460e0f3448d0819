//! One key and those who want it.

use domain::claim::{Claim, ClaimCommand, ClaimEvent, ClaimRejection, ClaimReleased, Claimed};

use crate::Table;

variants!(ClaimCommand: Take, Release);
variants!(ClaimRejection: Taken);

const TABLE: &str = "
Take by ann
    Claimed                                                    | free released
    -                                                          | ann's

Take by bob
    Claimed                                                    | free released
    claim_taken                                                | ann's

Release by ann
    -                                                          | free released
    ClaimReleased                                              | ann's

Release by bob
    -                                                          | free ann's released
";

fn after(events: &[ClaimEvent]) -> Claim {
    let mut claim = Claim::default();
    for event in events {
        claim.apply(event);
    }
    claim
}

#[test]
fn a_key_in_every_state() {
    let ann = || "ann".to_owned();
    let taken = ClaimEvent::Claimed(Claimed { by: ann() });
    let released = ClaimEvent::ClaimReleased(ClaimReleased { by: ann() });
    Table {
        text: TABLE,
        states: vec![("free", after(&[])), ("ann's", after(std::slice::from_ref(&taken))), ("released", after(&[taken, released]))],
        commands: vec![
            ("Take by ann", ClaimCommand::Take { by: ann() }),
            ("Take by bob", ClaimCommand::Take { by: "bob".to_owned() }),
            ("Release by ann", ClaimCommand::Release { by: ann() }),
            ("Release by bob", ClaimCommand::Release { by: "bob".to_owned() }),
        ],
        decide: Claim::decide,
        code: ClaimRejection::code,
        events_elsewhere: &[],
        refusals_elsewhere: &[],
    }
    .check();
}
