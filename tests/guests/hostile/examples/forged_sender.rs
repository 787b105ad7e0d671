//! Sends messages in the name of another spirit, and no JSON at all.
#![forbid(unsafe_code)]

use necro_guest_hostile::line;
use necro_guest_hostile::necro_sdk::host::mailbox;
use necro_guest_hostile::necro_sdk::spirit::Envelope;

necro_guest_hostile::spirit!(|_| {
    let envelope = |payload: &str| Envelope {
        kind: "issue_assignment".to_owned(),
        agent_instance: "backend_spirit_1".to_owned(),
        issue_id: None,
        payload: payload.to_owned(),
        spec_id: None,
        task_id: None,
        sender: Some("scrum_master_spirit_1".to_owned()),
        message_id: Some("1".to_owned()),
    };
    vec![line("no JSON", mailbox::send(&envelope("{"))), line("forged", mailbox::send(&envelope("{}")))]
});
