//! What is true in a simulated rollout.

/// Everything that a simulated rollout depends on, besides the settings of its analysis and the seed.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The promoted revision.
    pub stable: Revision,
    /// The revision under test.
    pub candidate: Revision,
    /// Requests.
    pub traffic: Traffic,
    /// How long an engine works on one.
    pub service: Service,
    /// Where requests wait for an engine.
    pub queues: Queues,
    /// Who decides which revision answers.
    pub split: Split,
    /// When events are counted.
    pub booking: Booking,
    /// Steps of the rollout, at least one; the wave keeps its nodes and grows.
    pub steps: Vec<Step>,
    /// D of the errors, seconds (`maxRequestSeconds`).
    pub errors_maturity_seconds: u64,
}

/// What is true of a revision.
#[derive(Debug, Clone, Copy)]
pub struct Revision {
    /// Its service time over that of the scenario.
    pub slowdown: f64,
    /// Time on the way between router and engine, microseconds.
    pub path_us: u64,
    /// Probability that a request fails.
    pub failing: f64,
    /// When a failure shows, microseconds after the coin.
    pub failure_us: u64,
}

/// Requests of a node.
#[derive(Debug, Clone, Copy)]
pub struct Traffic {
    /// Mean rate at a node, both arms together.
    pub requests_per_second: f64,
    /// Standard deviation of the log of the rate, common to all nodes.
    pub swing: f64,
    /// Standard deviation between nodes of the log of their rates.
    pub node_swing: f64,
}

/// Service time: `median * slowdown * node * level * exp(spread * normal)`, and now and then a stall.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// Median, microseconds.
    pub median_us: f64,
    /// Standard deviation of the log over requests: inputs of one length .2, pooled lengths .5.
    pub spread: f64,
    /// Standard deviation of the log between nodes.
    pub node_spread: f64,
    /// Standard deviation of the log over time, common to all nodes (neighbours, hours of the day).
    pub level_swing: f64,
    /// Share of requests that are held up by the machine, whatever the revision.
    pub stalling: f64,
    /// Mean of what a stall adds, microseconds; exponential.
    pub stall_us: f64,
    /// Incidents an hour: for 20 s every engine takes three times as long and one request in ten fails.
    pub incidents_per_hour: f64,
}

/// Where requests wait, each engine working on one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queues {
    /// Coin first, then a queue per arm: the product's rule.
    PerArm,
    /// Control: one queue for both arms. A slow candidate holds up stable's requests as well.
    Shared,
}

/// Who decides which revision answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// A coin for each request on the same node, with this candidate share: the product's rule.
    Coin {
        /// The candidate's share.
        permille: u16,
    },
    /// Control: half of the nodes run the candidate, the other half stable, and they are compared.
    Nodes,
}

/// When events are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Booking {
    /// In coin order at coin time + D, by the routers' counters: the product's rule.
    AtMaturity,
    /// Control: units at their coin, errors when they show. Latency is not counted.
    AtEvent,
}

/// A step of the rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Nodes of the wave.
    pub nodes: usize,
    /// Least exposure of the step, seconds.
    pub min_exposure_seconds: u64,
}

impl Scenario {
    /// An equal revision on a calm fleet: 10 ms of service, inputs of one length class, .5 % errors; one step of one node at
    /// 10 requests a second without a least exposure, so that evidence alone decides.
    #[must_use]
    pub fn calm() -> Self {
        let revision = Revision {
            slowdown: 1.0,
            path_us: 0,
            failing: 0.005,
            failure_us: 20_000,
        };
        Self {
            stable: revision,
            candidate: revision,
            traffic: Traffic {
                requests_per_second: 10.0,
                swing: 0.0,
                node_swing: 0.0,
            },
            service: Service {
                median_us: 10_000.0,
                spread: 0.2,
                node_spread: 0.0,
                level_swing: 0.0,
                stalling: 0.0,
                stall_us: 0.0,
                incidents_per_hour: 0.0,
            },
            queues: Queues::PerArm,
            split: Split::Coin { permille: 500 },
            booking: Booking::AtMaturity,
            steps: vec![Step {
                nodes: 1,
                min_exposure_seconds: 0,
            }],
            errors_maturity_seconds: 10,
        }
    }

    /// An equal revision on a fleet as it is: the default steps (one node for 120 s, then a quarter of twelve for 300 s),
    /// common swings of load and speed, unlike nodes, stalls and incidents in which queues fill.
    #[must_use]
    pub fn rough() -> Self {
        let calm = Self::calm();
        Self {
            traffic: Traffic {
                requests_per_second: 10.0,
                swing: 0.4,
                node_swing: 0.3,
            },
            service: Service {
                spread: 0.4,
                node_spread: 0.2,
                level_swing: 0.2,
                stalling: 0.02,
                stall_us: 30_000.0,
                incidents_per_hour: 12.0,
                ..calm.service
            },
            steps: vec![
                Step {
                    nodes: 1,
                    min_exposure_seconds: 120,
                },
                Step {
                    nodes: 3,
                    min_exposure_seconds: 300,
                },
            ],
            ..calm
        }
    }

    /// An equal revision on engines that are busy for this share of the time while the split lasts, hence twice that
    /// before and after it. Below 1.
    ///
    /// The promise ends where queues take over: the coin is fair, but a run of requests that it gives to one arm makes
    /// all slow that wait behind them, so units are no longer independent of earlier coins.
    #[must_use]
    pub fn busy(share: f64) -> Self {
        Self::calm().with_load(share)
    }

    /// The same with so many requests that engines of stable's speed would be busy for this share of the time if each
    /// arm had half of them.
    #[must_use]
    pub fn with_load(mut self, share: f64) -> Self {
        let service = &self.service;
        // Mean of a log-normal time.
        let mean_us = service.median_us * (service.spread * service.spread / 2.0).exp();
        self.traffic.requests_per_second = 2.0 * share * 1e6 / mean_us;
        self
    }

    /// The same with a candidate this many times slower and with this much more of failing requests.
    #[must_use]
    pub fn with_candidate(mut self, slowdown: f64, more_failing: f64) -> Self {
        self.candidate.slowdown = self.stable.slowdown * slowdown;
        self.candidate.failing = self.stable.failing + more_failing;
        self
    }
}
