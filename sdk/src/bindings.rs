//! Rust types and calls generated from `wit/`. One invocation makes everything that may be imported;
//! each world reuses it, so that there is one set of types. A component ends up with only those
//! imports that its code calls: the linker drops the rest.

/// What hosts offer: the imports of all worlds together.
pub mod host {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package necro:sdk;
            world host {
                import necro:plugin/types@0.1.0;
                import necro:plugin/llm@0.1.0;
                import necro:plugin/workspace@0.1.0;
                import necro:plugin/workspace-edit@0.1.0;
                import necro:plugin/command@0.1.0;
                import necro:plugin/registry@0.1.0;
                import necro:plugin/mailbox@0.1.0;
                import necro:plugin/lock@0.1.0;
                import necro:plugin/artifact@0.1.0;
                import necro:plugin/log@0.1.0;
            }
        ",
        world: "necro:sdk/host",
        pub_export_macro: true,
        generate_all,
        additional_derives: [PartialEq],
    });
}

/// World `spirit`.
pub mod spirit {
    wit_bindgen::generate!({
        path: "../wit",
        world: "necro:plugin/spirit",
        pub_export_macro: true,
        additional_derives: [PartialEq],
        with: {
            "necro:plugin/types@0.1.0": crate::bindings::host::necro::plugin::types,
            "necro:plugin/llm@0.1.0": crate::bindings::host::necro::plugin::llm,
            "necro:plugin/workspace@0.1.0": crate::bindings::host::necro::plugin::workspace,
            "necro:plugin/workspace-edit@0.1.0": crate::bindings::host::necro::plugin::workspace_edit,
            "necro:plugin/command@0.1.0": crate::bindings::host::necro::plugin::command,
            "necro:plugin/registry@0.1.0": crate::bindings::host::necro::plugin::registry,
            "necro:plugin/mailbox@0.1.0": crate::bindings::host::necro::plugin::mailbox,
            "necro:plugin/lock@0.1.0": crate::bindings::host::necro::plugin::lock,
            "necro:plugin/artifact@0.1.0": crate::bindings::host::necro::plugin::artifact,
            "necro:plugin/log@0.1.0": crate::bindings::host::necro::plugin::log,
        },
        generate_all,
    });
}

/// World `scheduling-policy`.
pub mod scheduling_policy {
    wit_bindgen::generate!({
        path: "../wit",
        world: "necro:plugin/scheduling-policy",
        pub_export_macro: true,
        additional_derives: [PartialEq],
        with: {
            "necro:plugin/types@0.1.0": crate::bindings::host::necro::plugin::types,
            "necro:plugin/log@0.1.0": crate::bindings::host::necro::plugin::log,
        },
        generate_all,
    });
}

/// World `routing-policy`.
pub mod routing_policy {
    wit_bindgen::generate!({
        path: "../wit",
        world: "necro:plugin/routing-policy",
        pub_export_macro: true,
        additional_derives: [PartialEq],
        with: {
            "necro:plugin/types@0.1.0": crate::bindings::host::necro::plugin::types,
            "necro:plugin/log@0.1.0": crate::bindings::host::necro::plugin::log,
        },
        generate_all,
    });
}

/// World `review-heuristic`.
pub mod review_heuristic {
    wit_bindgen::generate!({
        path: "../wit",
        world: "necro:plugin/review-heuristic",
        pub_export_macro: true,
        additional_derives: [PartialEq],
        with: {
            "necro:plugin/types@0.1.0": crate::bindings::host::necro::plugin::types,
            "necro:plugin/log@0.1.0": crate::bindings::host::necro::plugin::log,
            "necro:plugin/workspace@0.1.0": crate::bindings::host::necro::plugin::workspace,
            "necro:plugin/llm@0.1.0": crate::bindings::host::necro::plugin::llm,
        },
        generate_all,
    });
}
