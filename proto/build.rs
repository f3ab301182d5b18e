//! Compiles the protocol files without `protoc`: `protox` parses them in-process.

use std::error::Error;
use std::fs;

use protox::prost::Message as _;

/// Where packages begin.
const ROOT: &str = "proto";

/// The files, in the order of their dependence.
const FILES: [&str; 20] = [
    "reeve/types/v1/tenant.proto",
    "reeve/types/v1/violation.proto",
    "reeve/types/v1/decision.proto",
    "reeve/types/v1/pause.proto",
    "reeve/types/v1/node_event.proto",
    "reeve/types/v1/notice.proto",
    "reeve/agent/v1/report.proto",
    "reeve/agent/v1/order.proto",
    "reeve/agent/v1/agent_service.proto",
    "reeve/agent/v1/enrolment_service.proto",
    "reeve/status/v1/status_service.proto",
    "reeve/operator/v1/operator_service.proto",
    "reeve/operator/v1/access_service.proto",
    "reeve/operator/v1/audit_service.proto",
    "reeve/operator/v1/approval_service.proto",
    "reeve/operator/v1/person_service.proto",
    "reeve/operator/v1/policy_service.proto",
    "reeve/operator/v1/standing_service.proto",
    "reeve/operator/v1/case_service.proto",
    "reeve/operator/v1/complaint_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={ROOT}");
    // A file that is there but not compiled would be a promise that nobody keeps.
    for package in fs::read_dir(format!("{ROOT}/reeve"))? {
        for file in fs::read_dir(package?.path().join("v1"))? {
            let path = file?.path();
            let listed = FILES.iter().any(|name| path.ends_with(name));
            if !listed {
                return Err(format!("{} is not listed in build.rs", path.display()).into());
            }
        }
    }
    let descriptors = protox::compile(FILES, [ROOT])?;
    // What methods there are, for whoever decides who may call them.
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    fs::write(std::path::Path::new(&out).join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Its `connect` constructor would collide with the call of that name; callers bring a channel of their own.
        .build_transport(false)
        // Counters are reported sorted, so that two agents' bytes can be compared.
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}
