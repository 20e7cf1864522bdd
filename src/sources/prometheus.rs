//! The HTTP API of a Prometheus server: one instant query.

use std::collections::BTreeMap;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::{SourceError, differing_labels, excerpt, has, http::HttpResponse, parse_number};

/// Where a query is asked. The moment is the server's own; it looks back for as long as it is set to
/// (5 minutes unless told otherwise), so what comes is no older.
pub(super) fn url_of(server: &str, query: &str) -> String {
    let server = server.trim_end_matches('/');
    let query = utf8_percent_encode(query, NON_ALPHANUMERIC);
    format!("{server}/api/v1/query?query={query}")
}

/// The number in an answer: of the only series, or of the one that has these labels.
pub(super) fn judge(
    answer: HttpResponse,
    labels: &BTreeMap<String, String>,
) -> Result<f64, SourceError> {
    // Errors come with a status of their own and say more in their text.
    let Ok(document) = serde_json::from_str::<Value>(&answer.body) else {
        let body = answer.success()?;
        return Err(SourceError::NoJson {
            found: super::quoted(&body),
        });
    };
    if document["status"] == "error" {
        let message = document["error"].as_str().unwrap_or("error");
        return Err(SourceError::Said(excerpt(message)));
    }
    answer.success()?;
    let data = &document["data"];
    let result = &data["result"];
    match data["resultType"].as_str() {
        Some("scalar") => value(result),
        Some("vector") => {
            let series = result.as_array().map_or(&[] as &[Value], Vec::as_slice);
            one_of(series, labels)
        }
        Some(kind) => Err(SourceError::Kind {
            kind: excerpt(kind),
        }),
        None => Err(SourceError::Broken {
            why: "the answer is none of a Prometheus server".into(),
        }),
    }
}

fn one_of(series: &[Value], labels: &BTreeMap<String, String>) -> Result<f64, SourceError> {
    let named: Vec<_> = series.iter().map(|one| (labels_of(one), one)).collect();
    let matching: Vec<_> = named.iter().filter(|(own, _)| has(own, labels)).collect();
    match matching.as_slice() {
        [(_, one)] => value(&one["value"]),
        [] if series.is_empty() => Err(SourceError::NoData),
        [] => Err(SourceError::Broken {
            why: format!("none of {} series has the `labels`", series.len()),
        }),
        several => Err(SourceError::Several {
            count: several.len(),
            of: "series",
            differ: differing_labels(several.iter().map(|(own, _)| own)),
        }),
    }
}

fn labels_of(series: &Value) -> BTreeMap<String, String> {
    let labels = series["metric"].as_object().into_iter().flatten();
    labels
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// `[time, "number"]`.
fn value(sample: &Value) -> Result<f64, SourceError> {
    match sample[1].as_str() {
        Some(text) => parse_number::plain(text),
        None => Err(SourceError::NoNumber {
            found: "the series (a histogram has none; ask for a quantile or a rate)".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str, labels: &[(&str, &str)]) -> String {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        match judge(HttpResponse::of(status, body), &labels) {
            Ok(number) => number.to_string(),
            Err(error) => error.to_string(),
        }
    }

    fn data(kind: &str, result: &str) -> String {
        format!(
            r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}},"warnings":["w"]}}"#
        )
    }

    #[test]
    fn the_query_goes_into_the_url_whatever_is_in_it() {
        assert_eq!(
            url_of(
                "http://127.0.0.1:9090/prom/",
                r#"sum(rate(x{a="ü&b"}[1m])) + 1"#
            ),
            "http://127.0.0.1:9090/prom/api/v1/query?query=sum%28rate%28x%7Ba%3D%22%C3%BC%26b%22%7D%5B1m%5D%29%29%20%2B%201"
        );
    }

    #[test]
    fn a_scalar_and_the_only_series_of_a_vector_are_the_number() {
        assert_eq!(
            read(200, &data("scalar", r#"[1767268800.1,"42"]"#), &[]),
            "42"
        );
        let one = r#"[{"metric":{"job":"a"},"value":[1767268800,"1.5"]}]"#;
        assert_eq!(read(200, &data("vector", one), &[]), "1.5");
        let nan = r#"[{"metric":{},"value":[1767268800,"NaN"]}]"#;
        assert_eq!(read(200, &data("vector", nan), &[]), "NaN");
    }

    #[test]
    fn of_several_series_labels_pick_one() {
        let two = r#"[{"metric":{"__name__":"up","job":"a","x":"1"},"value":[1,"1"]},
                      {"metric":{"__name__":"up","job":"b","x":"1"},"value":[1,"2"]}]"#;
        let two = data("vector", two);
        assert_eq!(read(200, &two, &[("job", "b")]), "2");
        assert_eq!(
            read(200, &two, &[]),
            "2 series, expected one; pick one with `labels` (job)"
        );
        assert_eq!(
            read(200, &two, &[("job", "c")]),
            "none of 2 series has the `labels`"
        );
        assert_eq!(read(200, &data("vector", "[]"), &[("job", "c")]), "no data");
    }

    #[test]
    fn what_is_no_number_of_now_is_refused_and_errors_are_the_servers_own_words() {
        let range = r#"[{"metric":{},"values":[[1,"1"],[2,"1"]]}]"#;
        assert_eq!(
            read(200, &data("matrix", range), &[]),
            "the query gives a matrix, expected one number: a scalar or an instant vector"
        );
        assert_eq!(
            read(200, &data("string", r#"[1,"42"]"#), &[]),
            "the query gives a string, expected one number: a scalar or an instant vector"
        );
        let histogram = r#"[{"metric":{},"histogram":[1,{"count":"3"}]}]"#;
        assert_eq!(
            read(200, &data("vector", histogram), &[]),
            "no number in the series (a histogram has none; ask for a quantile or a rate)"
        );
        let error = r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:4: parse error: unclosed left parenthesis"}"#;
        assert_eq!(
            read(400, error, &[]),
            "Prometheus says: invalid parameter \"query\": 1:4: parse error: unclosed left parenthesis"
        );
        assert_eq!(
            read(503, "starting", &[]),
            "the answer is 503 Service Unavailable"
        );
        assert_eq!(read(200, "<html>", &[]), "no JSON in `<html>`");
        assert_eq!(
            read(200, "{}", &[]),
            "the answer is none of a Prometheus server"
        );
    }
}
