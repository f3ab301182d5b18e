//! What the protocol files generate, nested as their packages are. Its documentation is the comments there.
#![allow(missing_docs, clippy::all, clippy::unwrap_used, reason = "generated code")]

/// All protocol files, as a `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The vocabulary.
pub mod types {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("reeve.types.v1");
    }
}

/// The agents' stream.
pub mod agent {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("reeve.agent.v1");
    }
}

/// Where tenants stand.
pub mod status {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("reeve.status.v1");
    }
}

/// What operators do.
pub mod operator {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("reeve.operator.v1");
    }
}
