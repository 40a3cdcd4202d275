//! The error table row by row.
use super::*;
use crate::upstream::error_table::classify;
use RunErrorKind::*;

fn check(code: &str, status: u16, message: &str, expected: (RunErrorKind, Retry)) {
    let code = Some(code).filter(|code| !code.is_empty());
    assert_eq!(classify(TABLE, code, status, message), expected, "{code:?} {status} {message}");
}

// faults: D51
#[test]
fn keys_and_rights_are_the_operators_matter() {
    check("InvalidApiKey", 401, "Invalid API-key provided.", (NotSetUp, Retry::No));
    check("NOT AUTHORIZED", 401, "", (NotSetUp, Retry::No));
    check("Model.AccessDenied", 403, "Model access denied.", (NotSetUp, Retry::No));
    check("Workspace.AccessDenied", 403, "", (NotSetUp, Retry::No));
    check("App.AccessDenied", 403, "", (NotSetUp, Retry::No));
    check("AccessDenied", 403, "Access denied.", (NotAvailable, Retry::No));
    check("AccessDenied.Unpurchased", 403, "", (NotAvailable, Retry::No));
    check(
        "AllocationQuota.FreeTierOnly",
        403,
        "The free tier of the model has been exhausted.",
        (NotAvailable, Retry::No),
    );
    check("Arrearage", 400, "Access denied, account is in arrears.", (NotAvailable, Retry::No));
    check("", 401, "", (NotSetUp, Retry::No));
    check("", 403, "<html>", (NotSetUp, Retry::No));
    check("", 402, "", (NotAvailable, Retry::No));
}

// faults: D52
#[test]
fn a_long_conversation_is_distinguished_from_other_bad_parameters() {
    let long = "Range of input length should be [1, 98304]";
    check("InvalidParameter", 400, long, (InputTooLong, Retry::No));
    check(
        "InvalidParameter",
        400,
        &format!("<400> InternalError.Algo.InvalidParameter: {long}"),
        (InputTooLong, Retry::No),
    );
    check("InternalError.Algo.InvalidParameter", 400, long, (InputTooLong, Retry::No));
    check("InternalError.Algo", 400, long, (InputTooLong, Retry::No));
    check("", 400, long, (InputTooLong, Retry::No));
    check("BadRequest.TooLarge", 400, "", (InputTooLong, Retry::No));
    check("", 413, "", (InputTooLong, Retry::No));
    check("InvalidParameter", 400, "Range of max_tokens should be [1, 8192]", (BadRequest, Retry::No));
    check("InternalError.Algo.InvalidParameter", 400, "", (BadRequest, Retry::No));
    check("BadRequest.EmptyInput", 400, "", (BadRequest, Retry::No));
    check("InvalidParameter.Something", 400, "", (BadRequest, Retry::No));
    check("UnsupportedOperation", 400, "", (BadRequest, Retry::No));
    check("InvalidURL", 400, "", (BadRequest, Retry::No));
    check("SomethingNew", 400, "", (BadRequest, Retry::No));
    // The message is asked where the code is new, and not where the code says something else.
    check("SomethingNew", 400, long, (InputTooLong, Retry::No));
    check("SomethingNew", 429, "Free allocated quota exceeded.", (NotAvailable, Retry::No));
    check("InvalidApiKey", 401, long, (NotSetUp, Retry::No));
    check("AccessDenied.New", 403, long, (NotAvailable, Retry::No));
    check("ClientDisconnect", 400, "", (Cancelled, Retry::No));
}

// faults: D53
#[test]
fn wrong_models_and_places() {
    check("ModelNotFound", 404, "Model can not be found.", (ModelNotFound, Retry::No));
    check("Model.NotExist", 400, "", (ModelNotFound, Retry::No));
    check("InvalidParameter", 400, "Model not exist.", (ModelNotFound, Retry::No));
    check("InvalidParameter", 400, "url error, please check url！", (NotSetUp, Retry::No));
    check("WorkSpaceNotFound", 404, "", (NotSetUp, Retry::No));
    check("NotFound", 404, "", (NotSetUp, Retry::No));
    check("", 404, "", (NotSetUp, Retry::No));
}

// faults: D54
#[test]
fn rates_come_back_and_bills_do_not() {
    let soon = (RateLimited, Retry::BackOff { slow: false });
    let later = (RateLimited, Retry::BackOff { slow: true });
    for code in ["Throttling", "Throttling.RateQuota", "LimitRequests", "Throttling.New", ""] {
        check(code, 429, "Requests rate limit exceeded.", soon);
    }
    let quota = "Allocated quota exceeded, please increase your quota limit.";
    for code in ["Throttling.AllocationQuota", "Throttling.BurstRate"] {
        check(code, 429, quota, later);
    }
    for code in ["Throttling.AllocationQuota", "Throttling", ""] {
        check(code, 429, "Free allocated quota exceeded.", (NotAvailable, Retry::No));
    }
    for code in ["CommodityNotPurchased", "PrepaidBillOverdue", "PostpaidBillOverdue"] {
        check(code, 429, "", (NotAvailable, Retry::No));
    }
}

// faults: D55
#[test]
fn faults_of_the_service_come_back() {
    let soon = (UpstreamError, Retry::BackOff { slow: false });
    for code in ["InternalError", "InternalError.Algo", "SystemError", "ModelServiceFailed"] {
        check(code, 500, "", soon);
    }
    for code in ["ModelServingError", "ModelUnavailable", "ServiceUnavailable", "InternalError.New", "New"] {
        check(code, 503, "", soon);
    }
    for status in [500, 502, 503, 504, 599] {
        check("", status, "<html>502 Bad Gateway</html>", soon);
    }
    for code in ["RequestTimeOut", "ResponseTimeout", "InternalError.Timeout"] {
        for status in [408, 500, 504] {
            check(code, status, "Request timed out", (UpstreamTimeout, Retry::Once));
        }
    }
    check("", 408, "", (UpstreamTimeout, Retry::Once));
}

// faults: D58
#[test]
fn a_redirect_is_a_fault_of_the_configuration() {
    for status in [301, 302, 307, 308] {
        check("", status, "", (NotSetUp, Retry::No));
    }
    check("", 101, "", (UpstreamProtocol, Retry::No));
}

#[test]
fn filters_and_rules_refuse() {
    for code in [
        "DataInspectionFailed",
        "InternalError.Algo.DataInspectionFailed",
        "CustomRoleBlocked",
        "FaqRuleBlocked",
        "IPInfringementSuspect",
    ] {
        check(code, 400, "", (InputRefused, Retry::No));
    }
}

#[test]
fn the_code_decides_before_the_status() {
    check("InvalidApiKey", 500, "", (NotSetUp, Retry::No));
    check("Throttling", 200, "", (RateLimited, Retry::BackOff { slow: false }));
    check(" Throttling ", 400, "", (RateLimited, Retry::BackOff { slow: false }));
    check("Unknown", 200, "", (UpstreamError, Retry::Once));
}

#[test]
fn the_table_has_no_code_twice() {
    let mut names: Vec<_> = ROWS
        .iter()
        .map(|row| match row.code {
            Code::Is(name) => ("is", name, row.needle),
            Code::Begins(name) => ("begins", name, row.needle),
            Code::Other => ("other", "", row.needle),
            Code::Any => ("any", "", row.needle),
        })
        .collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(ROWS.iter().filter_map(|row| row.needle).all(|needle| needle == needle.to_ascii_lowercase()));
}
