//! Faults on the cluster (`rollout.md` 6): while an application on every node keeps book of every answer, something is killed, cut
//! off or taken away. No request fails that had a path (`path` says which had none), every answer is audited (`smallfleet_e2e::audit`), and the
//! verdict is the one without the fault, or says why not.
//!
//! `make e2e-faults` brings the cluster up, runs this with one thread, and takes the cluster down. `STORY=name` runs some.
//! Whose fault it was (`rollout.md` 5) is told row by row in `operator/core/tests/behavior/blame.rs`.
//!
//! | what | story |
//! |---|---|
//! | stable engine or router killed | `pods::a_killed_engine_or_router_...`, in a canary `pods::an_engine_and_a_router_killed_...` |
//! | stable pod deleted; registry down | `control_plane::a_registry_that_is_down_...` |
//! | candidate crashes, meets its memory limit | `pods::a_candidate_that_is_killed_...`, `pods::a_candidate_over_its_memory_limit_...` |
//! | kubelet, containerd killed | `nodes::a_containerd_and_a_kubelet_killed_...` |
//! | router cannot reach the operator, node comes back | `nodes::a_partitioned_node_...` |
//! | node drained, deleted, added | `nodes::a_node_drained_deleted_and_added_...` |
//! | API server killed, operator cut from it (etcd) | `control_plane::an_api_server_and_an_etcd_...` |
//! | operator restarts, planned | `operators::an_operator_upgraded_...` |
//! | two leaders, another takes over | `operators::of_two_operators_...` |
//! | operator killed, at 0 replicas | the suite `stories`: `faults` |
//! | crash after a cut or a raise; status or evidence lost | `operator/core/tests/behavior`: `evidence`, `rollout`, `properties` |

#[path = "../stories/common.rs"]
#[allow(dead_code, reason = "the other suite uses the rest of it")]
mod common;
mod control_plane;
mod nodes;
mod operators;
mod path;
mod pods;
mod trial;
