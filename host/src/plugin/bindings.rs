//! Generated bindings of `wit/`: the only place that calls `bindgen!`. One shared world makes one set
//! of Rust types for everything that can be imported; each plugin world adds its exports to it.

/// Every interface that any world may import, and the types that all worlds share.
pub(crate) mod imports {
    wasmtime::component::bindgen!({
        path: "../wit",
        interfaces: "
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
        ",
        imports: { default: async | trappable },
        trappable_error_type: { "necro:plugin/types.host-error" => crate::plugin::host::CallError },
        with: { "necro:plugin/lock.lease": crate::plugin::host::Lease },
    });
}

/// World `spirit`.
pub(crate) mod spirit {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "spirit",
        exports: { default: async },
        with: { "necro:plugin": crate::plugin::bindings::imports::necro::plugin },
    });
}

/// World `scheduling-policy`.
pub(crate) mod scheduling {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "scheduling-policy",
        exports: { default: async },
        with: { "necro:plugin": crate::plugin::bindings::imports::necro::plugin },
    });
}

/// World `routing-policy`.
pub(crate) mod routing {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "routing-policy",
        exports: { default: async },
        with: { "necro:plugin": crate::plugin::bindings::imports::necro::plugin },
    });
}

/// World `review-heuristic`.
pub(crate) mod review {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "review-heuristic",
        exports: { default: async },
        with: { "necro:plugin": crate::plugin::bindings::imports::necro::plugin },
    });
}
