//! All checks, from what was read to their findings.

use super::finding::{Check, Finding};
use super::read::{Facts, Rest, Scope};
use super::{
    admission, api_server, certificates, configuration, labels, limits, pods, replicas, settings,
    sidecars,
};
use crate::cluster::Unreadable;

/// The findings of the checks that have a meaning for `scope`, in their order.
pub(crate) fn findings(facts: &Facts, scope: &Scope) -> Vec<Finding> {
    let applies = |check: &Check| {
        (!scope.pre || check.is_before_installing())
            && (scope.namespace.is_none() || check.is_about_a_namespace())
    };
    let checks = Check::ALL.into_iter().filter(applies);
    checks.map(|check| finding(check, facts, scope)).collect()
}

fn finding(check: Check, facts: &Facts, scope: &Scope) -> Finding {
    match check {
        Check::ApiVersion => return api_server::version(&facts.api_server),
        Check::Permissions => return api_server::permissions(&facts.api_server),
        Check::Clocks if facts.rest.is_some() => return api_server::clocks(&facts.api_server),
        _ => {}
    }
    let Some(rest) = &facts.rest else {
        return Finding::skipped(check, format!("{}: the API server does not answer", check.id()));
    };
    of_rest(check, rest, facts, scope)
}

fn of_rest(check: Check, rest: &Rest, facts: &Facts, scope: &Scope) -> Finding {
    let (configurations, policy, now) = (&rest.configurations, &rest.policy, facts.now);
    let own = configurations.own.as_ref().ok().and_then(Option::as_ref);
    let sidecars = rest.pods.as_ref().map(|pods| &pods.sidecars);
    match check {
        Check::ApiVersion | Check::Permissions | Check::Clocks => finding(check, facts, scope),
        Check::Configuration => configuration::configuration(configurations, scope.pre),
        Check::Istio => {
            let beside = rest.pods.as_ref().map(|pods| pods.beside_istio.clone());
            configuration::istio(configurations, &beside.map_err(Unreadable::clone), &rest.strict)
        }
        Check::CaBundles => configuration::ca_bundles(configurations),
        Check::CertificateAuthorities => {
            certificates::certificate_authorities(&rest.certificates, own, now)
        }
        Check::ServingCertificates => {
            certificates::serving_certificates(&rest.certificates, own, now)
        }
        Check::Replicas => replicas::replicas(&rest.replicas),
        Check::NetworkPolicies => replicas::network_policies(&rest.replicas, &rest.target),
        Check::DryRun => admission::dry_run(&rest.attempt),
        Check::Call => admission::call(&rest.attempt, rest.webhook.service.as_ref()),
        Check::Labels => {
            let doubtful = rest.workloads.as_ref().map(|it| it.doubtful.clone());
            labels::labels(&rest.namespaces, &doubtful.unwrap_or_default(), policy)
        }
        Check::Settings => settings::settings(&rest.namespaces, &rest.workloads, policy),
        Check::MissingSidecars => pods::missing_sidecars(&rest.pods),
        Check::OldSidecars => pods::old_sidecars(&rest.pods, &rest.image),
        Check::Secrets => pods::secrets(&rest.pods, &rest.secrets),
        Check::LimitsAndQuotas => limits::limits_and_quotas(&rest.limits, &rest.namespaces, policy),
        Check::Images => sidecars::images(sidecars),
        Check::SidecarStates => sidecars::sidecar_states(sidecars, now),
    }
}
