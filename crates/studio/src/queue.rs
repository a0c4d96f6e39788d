use serde::{Deserialize, Serialize};

use crate::job::{Job, JobState};

/// Jobs in their order, of which one runs at a time.
#[derive(Debug)]
pub(crate) struct Queue {
    jobs: Vec<Job>,
    /// Whether the next job starts when one ends.
    pub(crate) runs: bool,
    /// A job that somebody wants now, whether or not the queue runs.
    urgent: Option<u64>,
    next_id: u64,
}

/// The queue, as it is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) order: Vec<u64>,
    pub(crate) next_id: u64,
}

impl Queue {
    /// Restores what is remembered. Where jobs are left over, nothing starts until the user lets the queue run.
    pub(crate) fn new(mut jobs: Vec<Job>, order: &Order) -> Self {
        let place = |id: u64| order.order.iter().position(|other| *other == id);
        // Jobs that the order does not name come last, by number.
        jobs.sort_by_key(|job| (place(job.id()).unwrap_or(usize::MAX), job.id()));
        // No number is given twice, not even that of a job that was removed.
        let next_id = jobs.iter().map(|job| job.id() + 1).max().unwrap_or(1).max(order.next_id);
        let is_open =
            |job: &Job| matches!(job.record.state, JobState::Waiting | JobState::Interrupted);
        let runs = !jobs.iter().any(is_open);
        Self { jobs, runs, urgent: None, next_id }
    }

    /// The jobs to remember.
    pub(crate) fn order(&self) -> Order {
        Order { order: self.jobs.iter().map(Job::id).collect(), next_id: self.next_id }
    }

    /// A number that no job has had.
    pub(crate) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Appends a job.
    pub(crate) fn add(&mut self, job: Job) {
        self.jobs.push(job);
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Job> {
        self.jobs.iter().find(|job| job.id() == id)
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.id() == id)
    }

    pub(crate) fn remove(&mut self, id: u64) {
        self.jobs.retain(|job| job.id() != id);
    }

    /// Starts a job next, even where the queue waits.
    pub(crate) fn hurry(&mut self, id: u64) {
        let first = self.waiting().map(Job::id).find(|other| *other != id);
        self.move_before(id, first);
        self.urgent = Some(id);
    }

    /// Moves a job before another one, or to the end.
    pub(crate) fn move_before(&mut self, id: u64, before: Option<u64>) {
        let Some(index) = self.jobs.iter().position(|job| job.id() == id) else { return };
        if before == Some(id) {
            return;
        }
        let job = self.jobs.remove(index);
        // `None` matches no job, and stands for the end.
        let place = self.jobs.iter().position(|job| Some(job.id()) == before);
        self.jobs.insert(place.unwrap_or(self.jobs.len()), job);
    }

    /// The job that is to be started now.
    pub(crate) fn next(&mut self) -> Option<u64> {
        if self.jobs.iter().any(|job| job.record.state.is_active()) {
            return None;
        }
        let is_waiting = |id: &u64| self.waiting().any(|job| job.id() == *id);
        let urgent = self.urgent.filter(is_waiting);
        // Cleared even where it no longer waits: the wish was for one start.
        self.urgent = None;
        urgent.or_else(|| self.waiting().next().filter(|_| self.runs).map(Job::id))
    }

    /// Jobs that wait, the next one first.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter().filter(|job| job.record.state == JobState::Waiting)
    }

    /// The one at work, those that wait, and what has ended, the newest first.
    pub(crate) fn shown(&self) -> Vec<&Job> {
        let active = self.jobs.iter().filter(|job| job.record.state.is_active());
        let mut ended: Vec<&Job> = self.jobs.iter().filter(|job| has_ended(job)).collect();
        // One that the server did not see end ended no earlier than it began.
        let ended_at = |job: &Job| job.record.ended.or(job.record.started);
        ended.sort_by_key(|job| std::cmp::Reverse((ended_at(job), job.id())));
        active.chain(self.waiting()).chain(ended).collect()
    }
}

fn has_ended(job: &Job) -> bool {
    !job.record.state.is_active() && job.record.state != JobState::Waiting
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{JobKind, JobOrder, Record};

    fn job(id: u64, state: JobState) -> Job {
        let order = JobOrder {
            kind: JobKind::Convert,
            input: "/m".into(),
            output: "/o".into(),
            recipe: Default::default(),
            run: Default::default(),
            replace: false,
            budget: None,
        };
        Job::new(Record {
            id,
            order,
            state,
            failure: None,
            created: 0,
            started: None,
            ended: None,
            output_bytes: None,
            tensors: None,
            seconds: None,
            weight_error: None,
            starts_over: false,
            has_report: false,
        })
    }

    fn queue(states: &[JobState]) -> Queue {
        let jobs = states.iter().enumerate().map(|(index, state)| job(index as u64 + 1, *state));
        Queue::new(jobs.collect(), &Order::default())
    }

    fn ids(queue: &Queue) -> Vec<u64> {
        queue.order().order
    }

    #[test]
    fn one_job_runs_at_a_time_in_their_order() {
        let mut queue = queue(&[JobState::Done]);
        for id in [2, 3] {
            assert_eq!(queue.new_id(), id);
            queue.add(job(id, JobState::Waiting));
        }
        queue.move_before(3, Some(2));
        assert_eq!(ids(&queue), [1, 3, 2]);
        assert_eq!(queue.next(), Some(3));
        queue.get_mut(3).unwrap().record.state = JobState::Running;
        assert_eq!(queue.next(), None);
        queue.get_mut(3).unwrap().record.state = JobState::Stopped;
        assert_eq!(queue.next(), Some(2));
    }

    #[test]
    fn what_was_left_waits_for_somebody_to_say_so() {
        let mut queue = queue(&[JobState::Interrupted, JobState::Waiting]);
        assert!(!queue.runs);
        assert_eq!(queue.next(), None);
        queue.get_mut(1).unwrap().record.state = JobState::Waiting;
        queue.hurry(1);
        assert_eq!(queue.next(), Some(1), "somebody wants this one");
        queue.get_mut(1).unwrap().record.state = JobState::Done;
        assert_eq!(queue.next(), None);
        queue.runs = true;
        assert_eq!(queue.next(), Some(2));
    }

    #[test]
    fn numbers_of_jobs_are_not_given_twice() {
        let order = Order { order: vec![], next_id: 7 };
        let mut queue = Queue::new(vec![job(2, JobState::Done)], &order);
        assert_eq!((queue.new_id(), queue.new_id()), (7, 8));
    }
}
