//! What spec asks for, checked and resolved. Only this is passed on.

use smallfleet_analysis::gate::GateSettings;
use smallfleet_crds::status::RevisionRef;
use smallfleet_crds::{SmallModel, SmallModelSpec};

use crate::revision::{Revision, RevisionObject};
use crate::settings;
use crate::validate::{self, InvalidSpec};
use crate::world::World;

/// A valid spec and the revision it asks for.
#[derive(Clone, Debug)]
pub(crate) struct Desired<'a> {
    pub spec: &'a SmallModelSpec,
    pub revision: Revision,
    pub hash: String,
}

impl<'a> Desired<'a> {
    pub fn read(world: &'a World) -> Result<Self, InvalidSpec> {
        let spec = &world.model.spec;
        validate::spec(spec)?;
        let resolved = Revision::resolve(spec, &pinned_image(world))?;
        let revision = known(world, &resolved).map_or(resolved, |object| object.revision.clone());
        Ok(Self {
            spec,
            hash: revision.hash(),
            revision,
        })
    }

    pub fn reference(&self) -> RevisionRef {
        RevisionRef {
            revision: self.hash.clone(),
            digest: self.revision.digest().to_owned(),
        }
    }

    /// The accuracy gate that a rollout of this spec has to pass.
    pub fn gate(&self) -> Option<GateSettings> {
        settings::gate(&self.spec.rollout.analysis).map(|gate| gate.settings)
    }
}

/// All step deadlines together.
pub(crate) fn planned_exposed_seconds(spec: &SmallModelSpec) -> u64 {
    u64::from(spec.rollout.step_deadline_seconds) * spec.rollout.steps.len() as u64
}

/// The image of the revision that serves, so that a new default of the chart starts no rollout.
fn pinned_image(world: &World) -> String {
    stable_object(&world.model, &world.revisions).map_or_else(
        || world.defaults.runtime_image.clone(),
        |stable| stable.revision.runtime.image.clone(),
    )
}

fn stable_object<'a>(
    model: &SmallModel,
    revisions: &'a [RevisionObject],
) -> Option<&'a RevisionObject> {
    let stable = model.status.as_ref()?.stable.as_ref()?;
    revisions
        .iter()
        .find(|object| object.hash == stable.revision)
}

/// A revision that is the same but for the version of the renderer: an upgrade of the operator is no edit.
fn known<'a>(world: &'a World, resolved: &Revision) -> Option<&'a RevisionObject> {
    let same = |object: &&RevisionObject| {
        let mut as_recorded = resolved.clone();
        as_recorded.renderer_version = object.revision.renderer_version;
        as_recorded == object.revision
    };
    let stable = stable_object(&world.model, &world.revisions).filter(same);
    stable.or_else(|| {
        let matching = world.revisions.iter().filter(same);
        matching.max_by_key(|object| object.number)
    })
}
