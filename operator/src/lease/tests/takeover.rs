//! Who leads when, on a clock that is paused: never two at a time, whatever the connections and the clocks of the replicas do.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::server::{Link, Server, SharedLink};
use super::*;

/// Before a look at the Lease.
const JUST_BEFORE: Duration = Duration::from_millis(1);

/// A replica that takes part in the election.
struct Replica {
    link: SharedLink,
    standing: watch::Receiver<Standing>,
    stop: CancellationToken,
    ended: JoinHandle<()>,
}

impl Replica {
    fn start(server: &Server, identity: &str) -> Self {
        let link = SharedLink::default();
        let (election, standing) = server.election_over(&link, identity);
        let stop = CancellationToken::new();
        let ended = tokio::spawn(election.run(stop.clone(), || {}));
        Self {
            link,
            standing,
            stop,
            ended,
        }
    }

    /// When it began to lead.
    async fn leads(&mut self) -> Instant {
        self.standing.wait_for(is_leading).await.unwrap();
        Instant::now()
    }

    /// When it stopped to lead.
    async fn lost(&mut self) -> Instant {
        let lost = |standing: &Standing| *standing == Standing::Lost;
        self.standing.wait_for(lost).await.unwrap();
        Instant::now()
    }

    fn epoch(&self) -> u64 {
        epoch(&self.standing)
    }
}

fn set(link: &SharedLink, to: Link) {
    *link.lock().unwrap() = to;
}

fn is_leading(standing: &Standing) -> bool {
    matches!(standing, Standing::Leading { .. })
}

/// Whatever is written in it, it is held by another process, and changed now.
fn write_lease(server: &Server, version: &str, renewed: &str, duration_seconds: i32) {
    let (other, _) = server.election("other");
    let mut lease = other.held_by_us(&Lease::default(), 7);
    lease.metadata.resource_version = Some(version.to_owned());
    let spec = lease.spec.as_mut().unwrap();
    spec.renew_time = Some(MicroTime(renewed.parse().unwrap()));
    spec.lease_duration_seconds = Some(duration_seconds);
    server.kept().lease = Some(lease);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_before_another_leads() {
    let slow = |seconds| Link::Slow(Duration::from_secs_f64(seconds));
    let links = [Link::Fails, Link::Hangs, slow(1.9), slow(5.0), slow(9.9)];
    // Anywhere between two renewals.
    let moments = [0, 1, 500, 1_000, 1_999].map(Duration::from_millis);
    for (link, moment) in links
        .into_iter()
        .flat_map(|link| moments.map(|moment| (link, moment)))
    {
        let server = Server::default();
        let mut first = Replica::start(&server, "a");
        first.leads().await;
        let mut second = Replica::start(&server, "b");
        sleep(5 * RETRY + moment).await;
        let spoilt = Arc::clone(&first.link);
        let spoil = async {
            set(&spoilt, link);
            sleep(5 * LEASE).await;
            set(&spoilt, Link::Hangs);
        };
        let lost = async { (first.lost().await, server.kept().written.unwrap()) };
        let ((lost, renewed), leads, ()) = tokio::join!(lost, second.leads(), spoil);
        assert!(lost <= renewed + RENEW_DEADLINE, "{link:?} {moment:?}");
        assert!(lost < leads, "{link:?} {moment:?}");
        assert!(leads >= renewed + LEASE, "{link:?} {moment:?}");
    }
}

/// Its renewals are written, but it does not hear of them; from then on each conflicts with its own.
#[tokio::test(start_paused = true)]
async fn a_leader_whose_lease_is_its_own_stops_too_when_it_cannot_renew_it_in_time() {
    let server = Server::default();
    let mut leader = Replica::start(&server, "a");
    let led = leader.leads().await;
    sleep(RETRY / 2).await;
    server.kept().lost_answers = 1;
    sleep(RETRY).await;
    set(&leader.link, Link::Slow(Duration::from_millis(2_900)));
    assert!(leader.lost().await <= led + RENEW_DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_was_slow_to_take_the_lease_does_not_lead_beyond_its_deadline() {
    for milliseconds in [3_000, 3_900, 4_100, 4_900] {
        let server = Server::default();
        let replica = Replica::start(&server, "a");
        set(
            &replica.link,
            Link::Slow(Duration::from_millis(milliseconds)),
        );
        sleep(RENEW_DEADLINE + Duration::from_millis(10)).await;
        assert!(!is_leading(&replica.standing.borrow()), "{milliseconds} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_standby_takes_what_it_saw_unchanged_for_the_whole_time_whatever_the_clocks_say() {
    for renewed in ["1970-01-01T00:00:00Z", "2999-01-01T00:00:00Z"] {
        for duration_seconds in [1, 3_600] {
            let server = Server::default();
            write_lease(&server, "1", renewed, duration_seconds);
            let mut standby = Replica::start(&server, "b");
            sleep(7 * RETRY - JUST_BEFORE).await;
            write_lease(&server, "2", renewed, duration_seconds);
            let changed = Instant::now();
            let leads = standby.leads().await;
            assert!(leads >= changed + LEASE, "{renewed} {duration_seconds}");
            assert!(leads <= changed + LEASE + 2 * RETRY);
            assert!(standby.epoch() > 7);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_did_not_see_the_lease_for_a_while_waits_from_when_it_does() {
    let server = Server::default();
    write_lease(&server, "1", "2026-01-01T00:00:00Z", 15);
    let mut standby = Replica::start(&server, "b");
    set(&standby.link, Link::Hangs);
    sleep(4 * RENEW_DEADLINE - JUST_BEFORE).await;
    set(&standby.link, Link::Works);
    let seen = Instant::now();
    assert!(standby.leads().await >= seen + LEASE);
}

#[tokio::test(start_paused = true)]
async fn the_epoch_rises_with_every_change_of_leader() {
    let server = Server::default();
    let mut first = Replica::start(&server, "a");
    first.leads().await;
    let mut second = Replica::start(&server, "b");
    let before = first.epoch();
    set(&first.link, Link::Hangs);
    second.leads().await;
    assert!(second.epoch() > before);
    let mut third = Replica::start(&server, "c");
    sleep(RETRY).await;
    let before = second.epoch();
    second.stop.cancel();
    second.ended.await.unwrap();
    third.leads().await;
    assert!(third.epoch() > before);
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_knew_the_lease_takes_a_deleted_one_with_a_higher_epoch() {
    let server = Server::default();
    let mut first = Replica::start(&server, "a");
    first.leads().await;
    let before = first.epoch();
    let mut second = Replica::start(&server, "b");
    sleep(RETRY / 2).await;
    server.kept().lease = None;
    set(&first.link, Link::Hangs);
    second.leads().await;
    assert!(second.epoch() > before);
}

#[tokio::test(start_paused = true)]
async fn of_two_that_find_the_lease_free_at_the_same_time_one_leads() {
    for released in [false, true] {
        let server = Server::default();
        if released {
            write_lease(&server, "1", "2026-01-01T00:00:00Z", 15);
            let mut lease = server.lease();
            lease.spec.as_mut().unwrap().holder_identity = None;
            server.kept().lease = Some(lease);
        }
        let replicas = [Replica::start(&server, "a"), Replica::start(&server, "b")];
        sleep(4 * LEASE).await;
        assert!(server.kept().conflicts > 0, "they did not meet");
        let leading = replicas
            .iter()
            .zip(["a", "b"])
            .filter(|(replica, _)| is_leading(&replica.standing.borrow()));
        let names: Vec<_> = leading.map(|(_, name)| name).collect();
        assert_eq!(names, [holder_of(&server.lease())]);
    }
}
