//! The stop button at work: which pauses there are, and news of the node's own.
//!
//! The node's own pause is a file that anybody who may write the state folder writes or takes away. A thread of its own looks for
//! it, so that a disk that hangs holds up neither packets nor the kernel nor the controller.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use reeve_policy::Pause;

use super::Command;
use crate::state::pause::{self, ControllerPauses, LocalPause};

/// How often the node's own pause is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Every pause that there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pauses {
    /// The node's own.
    pub local: Option<LocalPause>,
    /// The controller's.
    pub controller: ControllerPauses,
}

impl Pauses {
    /// The one that the node is paused by: of several the oldest, since when nothing is done. `None` where there is none.
    pub fn in_force(&self) -> Option<&Pause> {
        let controllers = [&self.controller.fleet, &self.controller.node];
        let controllers = controllers.into_iter().flatten().map(|held| &held.pause);
        let local = self.local.as_ref().map(|local| &local.pause);
        local.into_iter().chain(controllers).min_by_key(|pause| pause.at)
    }
}

/// Tells the sensor whenever the node's own pause is another than `last`.
pub(super) fn follow(folder: PathBuf, mut last: Option<LocalPause>, commands: mpsc::Sender<Command>) {
    let mut complained = false;
    loop {
        std::thread::sleep(LOOK_EVERY);
        match pause::take_release(&folder) {
            Ok(Some(person)) => {
                if commands.send(Command::ReleaseBrakes(person)).is_err() {
                    return;
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "whether somebody releases the brakes cannot be looked for")
            }
        }
        match pause::read(&folder) {
            Ok(now) if now == last => complained = false,
            Ok(now) => {
                last.clone_from(&now);
                if commands.send(Command::LocalPause(now)).is_err() {
                    return;
                }
            }
            Err(error) if complained => drop(error),
            Err(error) => {
                complained = true;
                tracing::error!(%error, "the node's own pause cannot be looked for; it is as before");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use reeve_policy::{HeldPause, OrderId, Timestamp};

    use super::*;

    #[test]
    fn a_node_is_paused_while_anybody_pauses_it_and_the_oldest_pause_speaks() {
        let pause = |by: &str, secs| Pause::new(by, "", Timestamp::from_secs(secs));
        let held =
            |by: &str, secs| Some(HeldPause { order: OrderId("o".parse().unwrap()), pause: pause(by, secs) });
        let mut pauses = Pauses::default();
        assert_eq!(pauses.in_force(), None);
        pauses.local = Some(LocalPause { pause: pause("root", 5), lift: false });
        pauses.controller.fleet = held("oncall", 3);
        pauses.controller.node = held("other", 4);
        for (by, end) in [
            ("oncall", (|pauses: &mut Pauses| pauses.controller.fleet = None) as fn(&mut Pauses)),
            ("other", |pauses| pauses.controller.node = None),
            ("root", |pauses| pauses.local = None),
        ] {
            assert_eq!(pauses.in_force().unwrap().by, by);
            end(&mut pauses);
        }
        assert_eq!(pauses, Pauses::default());
    }
}
