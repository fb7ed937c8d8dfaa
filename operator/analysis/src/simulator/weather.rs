//! What changes over time for all nodes and both arms alike.

use super::dice::Dice;
use super::scenario::Scenario;

/// Correlation of the swings from one second to the next: they forget themselves within about a minute.
const MEMORY: f64 = 0.98;
/// Length of an incident.
const INCIDENT_SECONDS: u64 = 20;
/// What an incident multiplies the service time by.
const INCIDENT_SLOWDOWN: f64 = 3.0;
/// What an incident adds to the probability of failing.
const INCIDENT_FAILING: f64 = 0.1;

#[derive(Debug)]
pub(super) struct Weather {
    rate: Swing,
    level: Swing,
    incident_left_seconds: u64,
    incident_probability: f64,
}

impl Weather {
    pub(super) fn new(scenario: &Scenario, dice: &mut Dice) -> Self {
        Self {
            rate: Swing::new(scenario.traffic.swing, dice),
            level: Swing::new(scenario.service.level_swing, dice),
            incident_left_seconds: 0,
            incident_probability: scenario.service.incidents_per_hour / 3600.0,
        }
    }

    pub(super) fn pass_second(&mut self, dice: &mut Dice) {
        self.rate.pass_second(dice);
        self.level.pass_second(dice);
        self.incident_left_seconds = self.incident_left_seconds.saturating_sub(1);
        if dice.happens(self.incident_probability) {
            self.incident_left_seconds = INCIDENT_SECONDS;
        }
    }

    /// Factor on the rate of requests.
    pub(super) fn rate(&self) -> f64 {
        self.rate.log.exp()
    }

    /// Factor on the service time.
    pub(super) fn service(&self) -> f64 {
        let incident = if self.incident_left_seconds > 0 {
            INCIDENT_SLOWDOWN
        } else {
            1.0
        };
        self.level.log.exp() * incident
    }

    /// Probability of failing that is the weather's fault.
    pub(super) fn failing(&self) -> f64 {
        if self.incident_left_seconds > 0 {
            INCIDENT_FAILING
        } else {
            0.0
        }
    }
}

/// A stationary first-order autoregressive process with this standard deviation.
#[derive(Debug)]
struct Swing {
    sd: f64,
    log: f64,
}

impl Swing {
    fn new(sd: f64, dice: &mut Dice) -> Self {
        let log = sd * dice.normal();
        Self { sd, log }
    }

    fn pass_second(&mut self, dice: &mut Dice) {
        self.log = MEMORY * self.log + (1.0 - MEMORY * MEMORY).sqrt() * self.sd * dice.normal();
    }
}
