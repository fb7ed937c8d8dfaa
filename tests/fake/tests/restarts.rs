//! The API server restarts again and again and remembers no history.

use smallfleet_fake::lab::Lab;
use smallfleet_fake::server::Fault;
use smallfleet_fake::story::{PROMOTION, ROLLBACK, on_paused_clock};

/// Every watch of the operator ends in 410 Gone every few seconds; nothing is lost by it.
#[test]
fn a_server_without_history_changes_no_ending() {
    for story in [PROMOTION, ROLLBACK] {
        let resting = story.resting();
        let sound = story.tell(&resting, Fault::None).ending;
        let stable = on_paused_clock(async {
            let mut lab = Lab::from_snapshot(&resting);
            lab.start_operator(Fault::None);
            lab.second().await;
            lab.ask_for("2").await;
            for _ in 0..100 {
                lab.server.restart();
                lab.seconds(3).await;
                if (story.end)(&lab.status()) {
                    break;
                }
            }
            assert!((story.end)(&lab.status()), "{}: {lab:?}", story.name);
            lab.rest().await;
            lab.stable()
        });
        assert_eq!(stable, sound.stable, "{}", story.name);
    }
}
