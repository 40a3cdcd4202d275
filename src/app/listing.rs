//! Asks the upstreams that list their models for their lists, and offers what they list.
use crate::{
    chat::{Absence, Catalog, Model, Models, RunError, RunErrorKind},
    dispatch::{self, Router},
    http::AppState,
    lifecycle::Phase,
    upstream::{
        client::{Client, Question},
        listed::{self, ListChange, ListedModel, Lists, MODELS_MAX, NoModels, OfferedModel},
        route::{
            Key, Plan,
            plan::{ModelPlan, ModelTimes, TargetPlan},
        },
    },
};
use std::{cell::RefCell, rc::Rc, sync::Arc};
use tokio::time::sleep;

/// Plans of models that are offered no more are kept for the runs that wait for them. Beyond this many models in all, the
/// oldest are dropped.
const PLANS_MAX: usize = 2 * MODELS_MAX;

/// How an upstream is asked for its models.
#[derive(Clone, Debug)]
pub struct ListSettings {
    /// Its position among all upstreams.
    pub upstream: usize,
    /// Its name in the log.
    pub name: String,
    /// Below the base URL.
    pub path: String,
    /// Tokens of models that have no context of their own; 0: not known.
    pub context: u32,
}

/// What is offered of upstreams' lists.
#[derive(Clone, Debug)]
pub struct Listing {
    pub upstreams: Vec<ListSettings>,
    /// The configured models, if there are any. A listed one of the same name is not offered.
    pub configured: Vec<Model>,
    /// A listed model before its name and its context are known.
    pub model: Model,
    /// The name of the default model; without one it is the first.
    pub default: Option<Arc<str>>,
}

/// What the tasks that ask share.
struct Shared {
    listing: Listing,
    lists: RefCell<Lists>,
    /// The plan of the configuration, and the one in use.
    configured: Plan,
    plan: RefCell<Plan>,
    router: Arc<Router>,
    models: Models,
}

impl Listing {
    /// Starts a task for each upstream, which ends with the gateway.
    pub(super) fn start(self, upstreams: &[dispatch::Upstream], plan: Plan, app: &Arc<AppState>) {
        let asked: Vec<_> = self.upstreams.clone();
        let lists = RefCell::new(Lists::new(asked.iter().map(|list| list.upstream)));
        let (models, router) = (app.models.clone(), Arc::clone(&app.router));
        let (configured, plan) = (plan.clone(), RefCell::new(plan));
        let shared = Rc::new(Shared { listing: self, lists, configured, plan, router, models });
        for list in asked {
            if let Some(upstream) = upstreams.get(list.upstream) {
                actix::spawn(keep(Rc::clone(&shared), upstream.clone(), list, Arc::clone(app)));
            }
        }
    }
}

/// Asks one upstream again and again, until the gateway stops.
async fn keep(shared: Rc<Shared>, upstream: dispatch::Upstream, list: ListSettings, app: Arc<AppState>) {
    let client = Client::new(Arc::clone(&upstream.client));
    while app.lifecycle.phase() < Phase::Draining {
        let answer = ask(&client, &upstream, &list).await;
        shared.note(&list, answer);
        let pause = shared.lists.borrow().pause(list.upstream);
        sleep(pause).await;
    }
}

async fn ask(
    client: &Client,
    upstream: &dispatch::Upstream,
    list: &ListSettings,
) -> Result<Vec<ListedModel>, RunError> {
    let body = client.ask(&Question::list(&list.path, Key(0), upstream.dialect.headers())).await?;
    listed::read(&body, list.context).map_err(|problem| {
        RunError::new(RunErrorKind::UpstreamProtocol, format!("no list of models: {problem}"))
    })
}

impl Shared {
    /// Notes an answer of an upstream, and offers other models if it has changed them.
    fn note(&self, list: &ListSettings, answer: Result<Vec<ListedModel>, RunError>) {
        let (models, error) = match answer {
            Ok(models) => (Some(models), None),
            Err(error) => (None, Some(error)),
        };
        let upstream = list.name.as_str();
        let change = self.lists.borrow_mut().note(list.upstream, models);
        match (change, error) {
            (ListChange::None, _) => return,
            (ListChange::WentAway, error) => {
                let error = error.map(|error| error.to_string()).unwrap_or_default();
                log::warn!(upstream, error; "no list of models; asking again every few seconds");
            }
            (ListChange::CameBack, _) => log::info!(upstream; "the list of models is there again"),
            (ListChange::Models, _) => {}
        }
        let offered = self.lists.borrow().offered();
        if change == ListChange::Models {
            let names =
                offered.iter().flatten().map(|model| &*model.name).take(20).collect::<Vec<_>>().join(", ");
            let count = offered.as_ref().map_or(0, Vec::len);
            log::info!(upstream, count, names; "models of the list are offered");
        }
        match offered {
            Err(why) if self.listing.configured.is_empty() => {
                self.models.replace(Catalog::absent(absence(why)));
            }
            offered => self.offer(offered.unwrap_or_default()),
        }
    }

    fn offer(&self, mut offered: Vec<OfferedModel>) {
        let own = &self.listing.configured;
        offered.retain(|model| own.iter().all(|own| own.id != model.name));
        let plan = replan(&self.configured, &self.plan.borrow(), &offered);
        self.plan.borrow_mut().clone_from(&plan);
        // Before a client can choose them.
        self.router.set_plan(plan);
        let models = offered.iter().map(|model| Model {
            id: Arc::clone(&model.name),
            title: Arc::clone(&model.name),
            context: Some(model.context).filter(|context| *context > 0),
            continues: continues(&self.configured, model),
            is_away: model.is_away,
            ..self.listing.model.clone()
        });
        let catalog = Catalog::new(own.iter().cloned().chain(models).collect());
        self.models.replace(match &self.listing.default {
            Some(name) => catalog.with_default(name),
            None => catalog,
        });
    }
}

/// Whether an answer of a listed model can be continued, see [`Config::can_continue`](crate::config::Config::can_continue).
fn continues(plan: &Plan, model: &OfferedModel) -> bool {
    let mut names = model.targets.iter().map(|(_, there)| there);
    let first = names.next();
    let can = |(upstream, _): &(usize, Arc<str>)| {
        plan.upstreams.get(*upstream).is_some_and(|upstream| upstream.continues)
    };
    names.all(|name| Some(name) == first) && model.targets.iter().any(can)
}

fn absence(why: NoModels) -> Absence {
    match why {
        NoModels::Unreachable => Absence::Unreachable,
        NoModels::Empty => Absence::Nothing,
    }
}

/// The plan of the configured models, of these, and of those that runs may still wait for.
fn replan(configured: &Plan, before: &Plan, offered: &[OfferedModel]) -> Plan {
    let new = offered.iter().map(|model| ModelPlan {
        table: Arc::clone(&model.name),
        name: Arc::clone(&model.name),
        levels: vec![
            model
                .targets
                .iter()
                .map(|(upstream, there)| TargetPlan {
                    upstream: *upstream,
                    model: Arc::clone(there),
                    weight: 1,
                })
                .collect(),
        ],
        fallback: Vec::new(),
        context: model.context.into(),
        times: ModelTimes::default(),
    });
    // The first ones stay where they are: fallbacks are positions.
    let mut models = configured.models.clone();
    models.extend(new);
    for old in &before.models {
        if models.len() < PLANS_MAX + configured.models.len()
            && models.iter().all(|model| model.name != old.name)
        {
            models.push(old.clone());
        }
    }
    Plan { upstreams: configured.upstreams.clone(), models }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::route::plan::Times;

    fn offered(names: std::ops::Range<usize>) -> Vec<OfferedModel> {
        let model = |at| {
            let name: Arc<str> = format!("m{at}").into();
            OfferedModel { name: Arc::clone(&name), context: 0, targets: vec![(0, name)], is_away: false }
        };
        names.map(model).collect()
    }

    #[test]
    fn a_run_that_waits_for_a_model_keeps_its_target() {
        let configured = Plan::alone("first", 0, Times::UNLIMITED);
        let mut plan = replan(&configured, &configured, &offered(0..2));
        assert!(plan.find("m0").is_some() && plan.find("first") == Some(0));
        plan = replan(&configured, &plan, &offered(1..3));
        let names: Vec<_> = plan.models.iter().map(|model| model.name.to_string()).collect();
        assert_eq!(names, ["first", "m1", "m2", "m0"]);
        for at in 0..1000 {
            plan = replan(&configured, &plan, &offered(at..at + 3));
        }
        assert_eq!(plan.models.len(), PLANS_MAX + 1);
    }
}
