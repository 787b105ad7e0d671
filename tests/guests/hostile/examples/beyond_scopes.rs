//! Goes beyond the bounds of everything that it was granted.
#![forbid(unsafe_code)]

use necro_guest_hostile::line;
use necro_guest_hostile::necro_sdk::host::{artifact, command, llm, lock};

necro_guest_hostile::spirit!(|_| {
    let request = llm::Request {
        model: "strong".to_owned(),
        messages: Vec::new(),
        tools: Vec::new(),
        tool_choice: llm::ToolChoice::Auto,
        response_format: llm::ResponseFormat::Text,
        max_output_tokens: None,
    };
    vec![
        line("model", llm::complete(&request)),
        line("command", command::run("deploy", &[])),
        line("lock", lock::acquire("prod/deploy", 1_000, 0).map(|lease| lease.name())),
        line("artifact", artifact::put("release", "a.bin", "application/octet-stream", b"bytes")),
    ]
});
