//! What each thread does in a step: examples in, a sum of gradients out.

use std::ops::Range;

use crate::engine::suits_lanes;
use crate::graph::Graph;
use crate::group::{
    EngineChoice, GradientPlan, GradientPlanError, GroupWorker, Job, Method, Sums, capacity, settle,
};
use crate::lane_worker::LaneWorker;
use crate::lanes::Isa;

/// One thread's engine and sums.
pub(crate) struct Worker {
    engine: WorkerEngine,
    pub(crate) sums: Sums,
}

enum WorkerEngine {
    Lanes(Box<LaneWorker>),
    Group(Box<GroupWorker>),
}

impl Worker {
    /// Workers that clip where they are `private`, one a thread.
    pub(crate) fn all(
        graph: &Graph,
        plan: &GradientPlan,
        private: bool,
        threads: usize,
    ) -> Result<Vec<Self>, GradientPlanError> {
        let isa = Isa::best();
        let methods = settle(graph, plan)?;
        let lanes = match plan.engine {
            EngineChoice::SampleParallel if !graph.plan().has_lanes() => {
                return Err(GradientPlanError::SampleParallel);
            }
            EngineChoice::SampleParallel if graph.parameter_count() > LANE_PARAMETERS => {
                return Err(GradientPlanError::TooLarge(graph.parameter_count()));
            }
            EngineChoice::SampleParallel => true,
            EngineChoice::LayerByLayer => false,
            EngineChoice::Automatic => *plan == GradientPlan::default() && suits_lanes(graph, isa),
        };
        let kept = (graph.plan().steps.iter().zip(&methods))
            .filter(|(_, method)| **method == Method::Kept)
            .map(|(step, _)| step.parameters.len())
            .sum();
        let group = match plan.group {
            Some(group) => group.get(),
            None => capacity(graph, if private { kept } else { 0 }),
        };
        let parameters = graph.parameter_count();
        let worker = |_| Self {
            engine: if lanes {
                WorkerEngine::Lanes(Box::new(LaneWorker::new(graph, isa, private)))
            } else {
                WorkerEngine::Group(Box::new(GroupWorker::new(
                    graph, isa, group, &methods, private,
                )))
            },
            sums: Sums::new(private, parameters),
        };
        Ok((0..threads).map(worker).collect())
    }

    /// The most examples that are worked on at a time.
    pub(crate) fn capacity(&self) -> usize {
        match &self.engine {
            WorkerEngine::Lanes(worker) => worker.capacity(),
            WorkerEngine::Group(worker) => worker.capacity(),
        }
    }

    /// Makes ready for the next step.
    pub(crate) fn clear(&mut self) {
        self.sums.clear();
        if let WorkerEngine::Lanes(worker) = &mut self.engine {
            worker.clear();
        }
    }

    /// The sums of a step, complete.
    pub(crate) fn finish(&mut self) -> &mut Sums {
        if let WorkerEngine::Lanes(worker) = &mut self.engine {
            worker.finish(&mut self.sums);
        }
        &mut self.sums
    }

    /// Whether weights must be packed for it.
    pub(crate) fn reads_packed(&self) -> bool {
        matches!(self.engine, WorkerEngine::Group(_))
    }

    /// Adds the gradients of some neighbouring examples, which belong to the entities as these ranges say: no more of them
    /// than fit, or one entity.
    pub(crate) fn add(&mut self, job: &Job<'_>, entities: &[Range<usize>]) {
        match &mut self.engine {
            WorkerEngine::Lanes(worker) => worker.add(job, entities, &mut self.sums),
            WorkerEngine::Group(worker) => worker.add(job, entities, &mut self.sums),
        }
    }
}

/// Cuts entities, given as neighbouring ranges of examples, into runs of at most `capacity` examples; a larger entity is
/// a run of its own. The cut does not depend on threads, and so neither do the sums.
pub(crate) fn cut(entities: &[Range<usize>], capacity: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (index, entity) in entities.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if entity.end - entities[run.start].start <= capacity => run.end = index + 1,
            _ => runs.push(index..index + 1),
        }
    }
    runs
}

/// Parameters for which the grid is coarse enough for the lanes' sums.
const LANE_PARAMETERS: usize = 1 << 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_cut_into_runs_that_fit() {
        let check = |sizes: &[usize], capacity: usize, expect: &[Range<usize>]| {
            let mut start = 0;
            let entities: Vec<Range<usize>> = (sizes.iter())
                .map(|size| {
                    start += size;
                    start - size..start
                })
                .collect();
            assert_eq!(cut(&entities, capacity), expect, "{sizes:?}");
        };
        check(&[], 4, &[]);
        check(&[1, 1, 1, 1, 1], 2, &[0..2, 2..4, 4..5]);
        check(&[3, 2, 2], 4, &[0..1, 1..3]);
        check(&[1, 9, 1], 4, &[0..1, 1..2, 2..3]);
    }
}
