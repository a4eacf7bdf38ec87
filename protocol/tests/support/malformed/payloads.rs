//! Good envelopes with payloads that do not fit them.

use super::{
    super::{
        Direction::{FromMaster, FromWorker},
        Malformed,
        pack::{Value, map},
    },
    malformed, nested, offset, plain, result,
};

pub fn from_master() -> Vec<Malformed> {
    let call = |items: i128, keywords: bool| {
        map([(
            "call",
            map([
                ("id", 7.into()),
                ("function", "square".into()),
                ("items", items.into()),
                ("keywords", keywords.into()),
            ]),
        )])
    };
    let list = || Value::from(vec![5.into()]);
    let refuse = |name, description, envelope: Value, payload: &[u8], defect| {
        malformed(
            name,
            description,
            FromMaster,
            &[envelope.encoded(), payload.to_vec()].concat(),
            defect,
        )
    };
    let two = [list().encoded(), list().encoded()].concat();
    let initializer = |keywords: bool| {
        let fields =
            [("version", 1.into()), ("initializer", "f".into()), ("keywords", keywords.into())];
        map([("welcome", map(fields))])
    };
    vec![
        refuse(
            "call-zero-items",
            "a call of nothing",
            call(0, false),
            &[],
            plain("payload_no_items", "a call has at least one item"),
        ),
        refuse(
            "call-too-few-items",
            "three items announced, two there",
            call(3, false),
            &two,
            plain("payload_missing", "the third item is missing"),
        ),
        refuse(
            "call-items-beyond-payload",
            "4294967295 items announced, two there",
            call(0xffff_ffff, false),
            &two,
            plain(
                "payload_missing",
                "the third item is missing; the count alone allocates nothing",
            ),
        ),
        refuse(
            "call-surplus-bytes",
            "one item announced, two there",
            call(1, false),
            &two,
            plain("payload_surplus", "bytes follow the last item"),
        ),
        refuse(
            "call-item-not-an-array",
            "a bare argument",
            call(1, false),
            &[5],
            offset("payload_unexpected", 0, "an item is an array of arguments"),
        ),
        refuse(
            "call-item-is-binary",
            "encoded arguments wrapped in a bin",
            call(1, false),
            &Value::Binary(list().encoded()).encoded(),
            offset("payload_unexpected", 0, "an item is an array of arguments"),
        ),
        refuse(
            "call-keywords-missing",
            "keywords announced, but no map",
            call(1, true),
            &list().encoded(),
            plain("payload_missing", "a map follows the array"),
        ),
        refuse(
            "call-keywords-not-a-map",
            "keywords as an array",
            call(1, true),
            &two,
            offset("payload_unexpected", 2, "keywords are a map"),
        ),
        refuse(
            "call-truncated-item",
            "an array of two, one there",
            call(1, false),
            &[0x92, 5],
            offset("payload_truncated", 2, "the second argument is missing"),
        ),
        refuse(
            "call-reserved-byte",
            "an argument that MessagePack does not have",
            call(1, false),
            &[0x91, 0xc1],
            offset("payload_unexpected", 1, "0xc1 begins no value"),
        ),
        refuse(
            "call-shared-with-payload",
            "an item in the frame, and a place where the items are",
            map([(
                "call",
                map([
                    ("id", 7.into()),
                    ("function", "square".into()),
                    ("shared", map([("offset", 4096.into()), ("length", 2.into())])),
                ]),
            )]),
            &list().encoded(),
            plain("payload_surplus", "a payload that lies elsewhere is not in the frame as well"),
        ),
        refuse(
            "call-nested-too-deep",
            "an item of 513 levels; 512 are allowed",
            call(1, false),
            &nested(513).encoded(),
            offset("payload_too_deep", 512, "a value has at most 512 levels"),
        ),
        refuse(
            "welcome-with-payload",
            "arguments without an initializer",
            map([("welcome", map([("version", 1.into())]))]),
            &list().encoded(),
            plain("payload_surplus", "without an initializer there is no payload"),
        ),
        refuse(
            "welcome-without-arguments",
            "an initializer without its list of arguments",
            initializer(false),
            &[],
            plain("payload_missing", "a list of arguments follows"),
        ),
        refuse(
            "welcome-without-keywords",
            "an initializer without its map of keywords",
            initializer(true),
            &list().encoded(),
            plain("payload_missing", "a map follows the array"),
        ),
        refuse(
            "reject-with-payload",
            "a reject has no payload",
            map([("reject", map([("reason", "no".into())]))]),
            &[0xc0],
            plain("payload_surplus", "a reject has no payload"),
        ),
        refuse(
            "drain-with-payload",
            "a drain has no payload",
            map([("drain", map([]))]),
            &[0xc0],
            plain("payload_surplus", "a drain has no payload"),
        ),
        refuse(
            "cancel-with-payload",
            "a cancel has no payload",
            map([("cancel", result())]),
            &[0xc0],
            plain("payload_surplus", "a cancel has no payload"),
        ),
    ]
}

pub fn from_worker() -> Vec<Malformed> {
    let refuse = |name, description, message: &str, fields: Value, payload: &[u8], defect| {
        let body = [map([(message, fields)]).encoded(), payload.to_vec()].concat();
        malformed(name, description, FromWorker, &body, defect)
    };
    let hello = map([("token", "t".into()), ("oldest", 1.into()), ("newest", 1.into())]);
    let error = || map([("id", 7.into()), ("item", 0.into()), ("failure", map([]))]);
    vec![
        refuse(
            "result-without-payload",
            "no value, not even nil",
            "result",
            result(),
            &[],
            plain("payload_missing", "a result has one value; nothing is nil (0xc0)"),
        ),
        refuse(
            "result-two-values",
            "two values for one item",
            "result",
            result(),
            &[1, 2],
            plain("payload_surplus", "a result has one value"),
        ),
        refuse(
            "result-truncated-value",
            "a value that is cut short",
            "result",
            result(),
            &[0x92, 1],
            offset("payload_truncated", 2, "the second element is missing"),
        ),
        refuse(
            "result-reserved-byte",
            "a value that MessagePack does not have",
            "result",
            result(),
            &[0xc1],
            offset("payload_unexpected", 0, "0xc1 begins no value"),
        ),
        refuse(
            "results-without-payload",
            "no value, not even nil",
            "results",
            result(),
            &[],
            plain("payload_missing", "results have one value or more"),
        ),
        refuse(
            "results-truncated-value",
            "the second value is cut short",
            "results",
            result(),
            &[1, 0x92, 2],
            offset("payload_truncated", 3, "the second element of the second value is missing"),
        ),
        refuse(
            "results-reserved-byte",
            "the second value is one that MessagePack does not have",
            "results",
            result(),
            &[1, 0xc1],
            offset("payload_unexpected", 1, "0xc1 begins no value"),
        ),
        refuse(
            "results-nested-too-deep",
            "a second value of 513 levels; 512 are allowed",
            "results",
            result(),
            &[&[1], &nested(513).encoded()[..]].concat(),
            offset("payload_too_deep", 513, "a value has at most 512 levels"),
        ),
        refuse(
            "shared-result-with-payload",
            "a value in the frame, and a place where the value is",
            "shared_result",
            map([
                ("id", 7.into()),
                ("item", 0.into()),
                ("offset", 4096.into()),
                ("length", 1.into()),
            ]),
            &[25],
            plain("payload_surplus", "a value that lies elsewhere is not in the frame as well"),
        ),
        refuse(
            "error-with-non-binary-payload",
            "an opaque part that is a string",
            "error",
            error(),
            &Value::from("opaque").encoded(),
            offset("payload_unexpected", 0, "the opaque part is a bin"),
        ),
        refuse(
            "error-with-two-values",
            "two opaque parts",
            "error",
            error(),
            &[0xc4, 1, 0xff, 0xc4, 1, 0xff],
            plain("payload_surplus", "there is at most one opaque part"),
        ),
        refuse(
            "error-truncated-opaque",
            "an opaque part that is cut short",
            "error",
            error(),
            &[0xc4, 2, 0xff],
            offset("payload_truncated", 3, "the bin has two bytes"),
        ),
        refuse(
            "initializer-failed-with-non-binary-payload",
            "an opaque part that is nil",
            "initializer_failed",
            map([]),
            &[0xc0],
            offset("payload_unexpected", 0, "the opaque part is a bin, or nothing at all"),
        ),
        refuse(
            "hello-with-payload",
            "a hello has no payload",
            "hello",
            hello,
            &[0xc0],
            plain("payload_surplus", "a hello has no payload"),
        ),
        refuse(
            "ready-with-payload",
            "a ready has no payload",
            "ready",
            map([]),
            &[0xc0],
            plain("payload_surplus", "a ready has no payload"),
        ),
        refuse(
            "progress-with-payload",
            "progress has no payload",
            "progress",
            result(),
            &[0xc0],
            plain("payload_surplus", "progress has no payload; what there is to say is its note"),
        ),
    ]
}
