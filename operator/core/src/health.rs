//! What the operator times on its own clock. A plan is told how long it has lasted, never when it began.

use crate::fleet::Fleet;
use crate::world::World;

/// What is wrong with a model at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// No node that should serve has a Ready stable pod.
    pub nothing_serves: bool,
}

/// Looks at a world whose clock is not set yet.
#[must_use]
pub fn health(world: &World) -> Health {
    let fleet = Fleet::new(world, &world.model.spec.placement);
    Health {
        nothing_serves: fleet.ready().next().is_none(),
    }
}
