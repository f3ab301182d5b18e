//! The command line about policies that the controller has.

use clap::{Args, Subcommand};
use reeve_policy::{Name, PolicyVersion};

use super::policy;

/// What is done with policies at the controller.
#[derive(Debug, Subcommand)]
pub enum RolloutCommand {
    /// Takes a policy over to the controller; no node runs it before it is staged or activated
    ///
    /// It is compiled as by `policy check`. What is the same already is no error; another policy of that name and version is. What is
    /// probably a slip is told.
    Upload {
        /// The file.
        #[arg(value_name = "FILE")]
        file: String,
        /// Only tell what is wrong with it: nothing is kept.
        #[arg(long)]
        validate_only: bool,
        /// Why, for the record.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Lists the policies that the controller has, and which of them nodes are to run
    List,
    /// Prints a policy that the controller has, as it was uploaded
    Get {
        /// The policy and its version, such as extin@3.
        #[arg(value_name = "NAME@VERSION", value_parser = policy)]
        policy: PolicyVersion,
        /// As it holds: with what it extends put in.
        #[arg(long)]
        resolved: bool,
    },
    /// Has some nodes run a policy; the others keep what is active
    ///
    /// Nodes of a share are chosen by their names alone, so a larger share holds all of a smaller one. It takes the place of what was
    /// staged before. Only nodes with policy_from = "controller" in their settings take policies, and none enforces whose settings
    /// have observe. `policy rollout` tells how far it is.
    Stage {
        /// The policy and its version, such as extin@3.
        #[arg(value_name = "NAME@VERSION", value_parser = policy)]
        policy: PolicyVersion,
        #[command(flatten)]
        share: ShareArg,
        /// Why, for the record.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Has all nodes run a policy, and ends what is staged; for administrators
    Activate {
        /// The policy and its version, such as extin@3.
        #[arg(value_name = "NAME@VERSION", value_parser = policy)]
        policy: PolicyVersion,
        /// Why, for the record.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Ends what is staged; where nothing is, goes back to what was active before
    ///
    /// Where nothing was active before, nodes go back to the policies of their own settings. What a policy did stands: see `reevectl lift`.
    Rollback {
        /// Only if this is the last assignment still, as `policy rollout` tells it; by default the one that is when the command begins.
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
        assignment: Option<u64>,
        /// Why, for the record.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Deletes a policy that the controller has; for administrators
    ///
    /// Refused while it is staged or active, while a node runs it still, and while a rollback would go back to it. Its name and version stand for
    /// the same text still: that may be uploaded again, another one may not.
    Delete {
        /// The policy and its version, such as extin@3.
        #[arg(value_name = "NAME@VERSION", value_parser = policy)]
        policy: PolicyVersion,
        /// Why, for the record.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Tells whom a policy would treat otherwise, by what nodes saw in the last days
    ///
    /// The controller plays the alerts that it keeps of violations by both policies. Thresholds are those that they were found by: what more or less would be
    /// found, `policy try` tells from captures, and `reeve-agent try` from what a node recorded. Brakes are left out. Nothing is enforced.
    /// Exit codes: 0 nobody is treated otherwise, 1 somebody is; others as with every command.
    Trial {
        /// The policy and its version, such as extin@3; one that is compiled in is known too.
        #[arg(value_name = "NAME@VERSION", value_parser = policy)]
        policy: PolicyVersion,
        /// What it is held against; what is active if left out.
        #[arg(long, value_name = "NAME@VERSION", value_parser = policy)]
        against: Option<PolicyVersion>,
        /// On so many days.
        #[arg(long, value_name = "NUMBER", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=30))]
        days: u32,
    },
    /// Tells what is active and staged, and node by node who runs what, who has not got it yet, and who refused it and why
    ///
    /// Exit codes: 0 every node has what it is to have, 1 one refused, 4 one has not got it yet; others as with every command.
    Rollout,
}

/// To which nodes.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct ShareArg {
    /// So many of a hundred, 1 to 99.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=99))]
    pub percent: Option<u32>,
    /// This node. May be given several times.
    #[arg(long = "node", value_name = "NAME")]
    pub nodes: Vec<Name>,
}
