//! A person who is known by more than one name, and forgotten.

use domain::customer::{Subject, SubjectCommand, SubjectErased, SubjectEvent, SubjectLinked, SubjectRejection};
use domain::personal::Purpose;

use crate::{Table, id};

variants!(SubjectCommand: Link, Erase);
variants!(SubjectRejection: Erased, LinkedToItself);

const TABLE: &str = "
Link to itself
    subject_linked_to_itself                                   | new linked orders_erased account_erased all_erased

Link to the linked one
    SubjectLinked                                              | new orders_erased
    -                                                          | linked
    subject_erased                                             | account_erased all_erased

Link to a third one
    SubjectLinked                                              | new linked orders_erased
    subject_erased                                             | account_erased all_erased

Erase the account
    SubjectErased                                              | new linked orders_erased
    -                                                          | account_erased all_erased

Erase the orders
    SubjectErased                                              | new linked account_erased
    -                                                          | orders_erased all_erased
";

fn after(events: &[SubjectEvent]) -> Subject {
    let mut subject = Subject::default();
    for event in events {
        subject.apply(event);
    }
    subject
}

#[test]
fn a_person_in_every_state() {
    let link = |to| SubjectCommand::Link { from: id(1), to: id(to) };
    let linked = SubjectEvent::SubjectLinked(SubjectLinked { from: id(1), to: id(2) });
    let erased = |purpose| SubjectEvent::SubjectErased(SubjectErased { purpose });
    Table {
        text: TABLE,
        states: vec![
            ("new", after(&[])),
            ("linked", after(&[linked])),
            ("orders_erased", after(&[erased(Purpose::Order)])),
            ("account_erased", after(&[erased(Purpose::Account)])),
            ("all_erased", after(&[erased(Purpose::Account), erased(Purpose::Order)])),
        ],
        commands: vec![
            ("Link to itself", link(1)),
            ("Link to the linked one", link(2)),
            ("Link to a third one", link(3)),
            ("Erase the account", SubjectCommand::Erase { purpose: Purpose::Account }),
            ("Erase the orders", SubjectCommand::Erase { purpose: Purpose::Order }),
        ],
        decide: Subject::decide,
        code: SubjectRejection::code,
        events_elsewhere: &[],
        refusals_elsewhere: &[],
    }
    .check();
}
