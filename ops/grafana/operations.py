"""Operations: is it well, does it keep up, and if not, where does it stick?"""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import units

from ops.grafana.panel import GREEN, RED, YELLOW, Board, Panel, Row, quantile, quantiles, query

_READY: Final = ((0, "not ready", RED), (1, "ready", GREEN))
_PARTITION: Final = ((0, "nobody", RED), (1, "fenced", YELLOW), (2, "restoring", YELLOW), (3, "ready", GREEN))
_TRAINER: Final = ((0, "nobody", RED), (1, "standby", YELLOW), (2, "restoring", YELLOW), (3, "learning", GREEN))


#: One query, because a server that never failed has no series. Counts and not rates: a series that begins with the
#: first failure has no rate until the second.
_ERRORS: Final = " or ".join(
    f'label_replace(sum by (op) (intent_{server.lower()}_errors_total), "server", "{server}", "", "")'
    for server in ("Redis", "Kafka")
)

_WELL: Final = Row(
    "Is it well?",
    (
        Panel(
            title="Ready",
            why="Whether every worker and trainer is ready, as /readyz says. One that is not takes no part.",
            queries=(query("min by (component) (intent_ready)", "{{component}}"),),
            kind="stat", states=_READY, width=4, height=5, runbook="NotReady",
        ),
        Panel(
            title="Events",
            why="Events dealt with per second, of all outcomes. Nothing while the shop is open: scoring has stalled.",
            queries=(query("sum(rate(intent_events_total[$__rate_interval]))", "events"),),
            kind="stat", unit=units.EventsPerSecond, width=4, height=5, runbook="ScoringStalled",
        ),
        Panel(
            title="Behind",
            why="How long the oldest record that waits to be read has waited. Steadily growing means that more comes"
            " than is scored.",
            queries=(query('max(intent_lag_seconds{partition=~"$partition"})', "behind"),),
            kind="stat", unit=units.DurationSeconds, steps=((5, YELLOW), (10, RED)), width=4, height=5,
            runbook="LagHigh",
        ),
        Panel(
            title="Received until scored, p99",
            why="From the broker's timestamp of an event to the acknowledgement of its score: 99 of 100 are quicker.",
            queries=quantiles("intent_end_to_end_seconds", 0.99),
            kind="stat", unit=units.Seconds, steps=((0.5, YELLOW), (1, RED)), width=4, height=5,
            runbook="EndToEndLatencyHigh",
        ),
        Panel(
            title="Age of the model",
            why="Since the model that serves was published, on the worker that is furthest behind. It grows when the"
            " trainer stops, and in a shop without visitors.",
            queries=(query("max(intent_snapshot_age_seconds >= 0)", "age"),),
            kind="stat", unit=units.DurationSeconds, steps=((30, YELLOW), (60, RED)), width=4, height=5,
            runbook="SnapshotStale",
        ),
        Panel(
            title="Rejected",
            why="Share of the input records that were unusable and went to `dead.letters.v1`.",
            queries=(
                query(
                    "sum(rate(intent_dead_letters_total[$__rate_interval]))"
                    " / (sum(rate(intent_events_total[$__rate_interval]))"
                    " + sum(rate(intent_dead_letters_total[$__rate_interval])))",
                    "rejected",
                ),
            ),
            kind="stat", unit=units.PercentUnit, steps=((0.005, YELLOW), (0.01, RED)), width=4, height=5,
            runbook="DeadLettersGrowing",
        ),
    ),
)  # fmt: skip

_FLOW: Final = Row(
    "Does it keep up?",
    (
        Panel(
            title="Events by outcome",
            why="What became of the events: `scored`; scored but `late`; `duplicate`; `replayed`, known from before a"
            " crash. A wave of replayed ones follows each restart.",
            queries=(query("sum by (outcome) (rate(intent_events_total[$__rate_interval]))", "{{outcome}}"),),
            kind="stack", unit=units.EventsPerSecond,
        ),
        Panel(
            title="Records waiting, by partition",
            why="One partition alone: its worker is slow or gone, or a visitor floods it. All together: too few"
            " workers, or Kafka or Redis is slow.",
            queries=(
                query('max by (partition) (intent_lag_records{partition=~"$partition"} >= 0)', "{{partition}}"),
            ),
            unit=units.Short, minimum=0, runbook="LagHigh",
        ),
        Panel(
            title="Behind, by partition",
            why="The same in seconds: how long the oldest record that waits has waited. This is what visitors feel.",
            queries=(query('max by (partition) (intent_lag_seconds{partition=~"$partition"})', "{{partition}}"),),
            unit=units.DurationSeconds, minimum=0, steps=((5, YELLOW), (10, RED)), runbook="LagHigh",
        ),
        Panel(
            title="Event time behind the clock",
            why="Wall clock less the event time up to which sessions are over: how old the shop is that is being"
            " scored. Grace and half a minute are normal; in a replay it is as old as the history.",
            queries=(
                query('max by (partition) (intent_watermark_delay_seconds{partition=~"$partition"})', "{{partition}}"),
            ),
            unit=units.DurationSeconds, minimum=0, runbook="LagHigh",
        ),
        Panel(
            title="Received until scored",
            why="How long events waited for their scores. A second band above the usual one is a stage that sometimes"
            " blocks: see the stages.",
            queries=(query("sum by (le) (rate(intent_end_to_end_seconds_bucket[$__rate_interval]))"),),
            kind="heatmap", unit=units.Seconds, runbook="EndToEndLatencyHigh",
        ),
        Panel(
            title="Received until scored, quantiles",
            why="The same as three lines. An offer that must be shown with the next page needs p99 well below a"
            " second.",
            queries=quantiles("intent_end_to_end_seconds", 0.5, 0.95, 0.99),
            unit=units.Seconds, minimum=0, steps=((0.5, YELLOW), (1, RED)), runbook="EndToEndLatencyHigh",
        ),
        Panel(
            title="Stages of a batch, p99",
            why="Where the time goes: `load` is Redis, `fold` is our own computing, `publish` is Kafka; `view` writes"
            " to Redis behind and delays no score until its queue is full.",
            queries=(query(quantile(0.99, "intent_stage_seconds", "stage"), "{{stage}}"),),
            unit=units.Seconds, minimum=0, runbook="EndToEndLatencyHigh",
        ),
        Panel(
            title="Busy, by stage",
            why="Seconds of each second that are spent in a stage, over all workers: what to make quicker, or whether"
            " to add a worker. Partitions overlap, so the sum may exceed the number of workers.",
            queries=(query("sum by (stage) (rate(intent_stage_seconds_sum[$__rate_interval]))", "{{stage}}"),),
            kind="stack", unit=units.PercentUnit,
        ),
        Panel(
            title="Records in a batch",
            why="Few while it keeps up; up to the limit while it catches up. Large batches cost latency and save work.",
            queries=quantiles("intent_batch_records", 0.5, 0.95),
            unit=units.Short, minimum=0,
        ),
        Panel(
            title="Rejected, by reason",
            why="What is wrong with them. The records themselves, unchanged, are on `dead.letters.v1` with the reason"
            " in their headers.",
            queries=(
                query(
                    "sum by (topic, reason) (rate(intent_dead_letters_total[$__rate_interval]))", "{{topic}}:"
            " {{reason}}"
                ),
            ),
            kind="stack", unit=units.RecordsPerSecond, width=24, runbook="DeadLettersGrowing",
        ),
    ),
)  # fmt: skip

_SERVERS: Final = Row(
    "Where does it stick?",
    (
        Panel(
            title="Standing still",
            why="Seconds without progress, of the worst partition: since it last came round; since a batch last got"
            " through, while none does; waiting for a Redis that does not answer; and since the trainer came round.",
            queries=(
                query('max(intent_progress_age_seconds{partition=~"$partition"})', "partition"),
                query('max(intent_failing_seconds{partition=~"$partition"})', "no batch gets through"),
                query('max(intent_redis_wait_seconds{partition=~"$partition"})', "waits for Redis"),
                query("max(intent_trainer_progress_age_seconds)", "trainer"),
            ),
            unit=units.DurationSeconds, minimum=0, steps=((10, YELLOW), (60, RED)), runbook="ScoringStalled",
        ),
        Panel(
            title="Redis answers in, p99",
            why="By what was asked. Milliseconds on one network; tens of them delay every score whose visitor is not in"
            " memory.",
            queries=(query(quantile(0.99, "intent_redis_seconds", "op"), "{{op}}"),),
            unit=units.Seconds, minimum=0, runbook="RedisViewBehind",
        ),
        Panel(
            title="Kafka answers in, p99",
            why="By what was asked. What is written waits for all replicas, and with `exactly_once` for a transaction.",
            queries=(query(quantile(0.99, "intent_kafka_seconds", "op"), "{{op}}"),),
            unit=units.Seconds, minimum=0, runbook="EndToEndLatencyHigh",
        ),
        Panel(
            title="Failed calls",
            why="Calls to Redis and Kafka that failed since the processes began, by what was asked. They are tried"
            " again until they work: nothing is lost, and everything waits. A step is an outage.",
            queries=(query(_ERRORS, "{{server}}: {{op}}"),),
            unit=units.Short, minimum=0, runbook="ScoringStalled",
        ),
        Panel(
            title="Batches that Redis is behind",
            why="Scores do not wait for Redis until this queue is full; what a crash would have to restore grows with"
            " it.",
            queries=(
                query('sum by (partition) (intent_view_queue_batches{partition=~"$partition"})', "{{partition}}"),
            ),
            unit=units.Short, minimum=0, steps=((8, RED),), runbook="RedisViewBehind",
        ),
        Panel(
            title="Bytes of a visitor",
            why="Size of the states as they are written: what Redis and the changelog hold of each visitor.",
            queries=quantiles("intent_state_bytes", 0.5, 0.99),
            unit=units.BytesIEC, minimum=0,
        ),
        Panel(
            title="Views of Redis lost",
            why="How often Redis was wiped, rolled back or lost keys since the processes began. The changelog mends"
            " it.",
            queries=(query("sum(intent_views_lost_total)", "lost"),),
            kind="stat", unit=units.NoUnit, steps=((1, YELLOW),), width=4, runbook="RedisViewBehind",
        ),
        Panel(
            title="Given up",
            why="Partitions that were `fenced`, because another process has them, and those that stand still until a"
            " person acts. Some fenced ones belong to every scaling and restart.",
            queries=(query("sum(intent_fenced_total)", "fenced"), query("sum(intent_unusable_total)", "unusable")),
            kind="stat", unit=units.NoUnit, steps=((1, YELLOW),), width=4, runbook="PartitionNeedsAPerson",
        ),
        Panel(
            title="Restores, seconds on average",
            why="How long bringing up a partition took, by where its states came from, since the processes began.",
            queries=(
                query("sum by (source) (intent_restore_seconds_sum) / sum by (source) (intent_restore_seconds_count)",
                      "{{source}}"),
            ),
            kind="bars", unit=units.Seconds, steps=((30, YELLOW), (300, RED)), runbook="RestoreStuck",
        ),
        Panel(
            title="Visitors restored",
            why="States that restores wrote to Redis since the processes began, by where they came from. Many for each"
            " restart: the append-only file of Redis is off, or Redis forgets.",
            queries=(query("sum by (source) (intent_restored_visitors_total)", "{{source}}"),),
            kind="bars", unit=units.Short, runbook="RestoreStuck",
        ),
        Panel(
            title="Partitions",
            why="Who has each partition: `nobody` for longer than a rebalance takes (some seconds) means that its"
            " events wait.",
            queries=(
                query(
                    'max by (partition) (intent_partition_state{state="ready", partition=~"$partition"} * 3'
                    ' or intent_partition_state{state="restoring", partition=~"$partition"} * 2'
                    ' or intent_partition_state{state="fenced", partition=~"$partition"}'
                    ' or intent_partition_state{state="stopped", partition=~"$partition"} * 0)',
                    "{{partition}}",
                ),
            ),
            kind="states", states=_PARTITION, width=12, runbook="RestoreStuck",
        ),
        Panel(
            title="The trainer",
            why="Whether one learns. `standby` alone: no one has taken over; the scores go on with an ageing model.",
            queries=(
                query(
                    'max(intent_trainer_state{state="learning"} * 3 or intent_trainer_state{state="restoring"} * 2'
                    ' or intent_trainer_state{state="standby"} or intent_trainer_state{state="stopped"} * 0)',
                    "trainer",
                ),
            ),
            kind="states", states=_TRAINER, width=12, runbook="NobodyLearns",
        ),
    ),
)  # fmt: skip

_PROCESSES: Final = Row(
    "The processes",
    (
        Panel(
            title="CPU",
            why="Cores that each process uses. A worker is done at one: add another.",
            queries=(query("rate(intent_process_cpu_seconds_total[$__rate_interval])", "{{instance}}"),),
            unit=units.PercentUnit, minimum=0, steps=((0.9, YELLOW),),
        ),
        Panel(
            title="Memory",
            why="Resident memory of each process. It grows with the visitors in the cache, which has a limit.",
            queries=(query("intent_process_resident_memory_bytes", "{{instance}}"),),
            unit=units.BytesIEC, minimum=0,
        ),
        Panel(
            title="Running since",
            why="Seconds since each process began: a short one was restarted, or crashed.",
            queries=(query("time() - intent_process_start_time_seconds", "{{instance}}"),),
            kind="bars", unit=units.DurationSeconds,
        ),
        Panel(
            title="Open files",
            why="Of those that a process may have, the share that is open, sockets included.",
            queries=(query("intent_process_open_fds / intent_process_max_fds", "{{instance}}"),),
            unit=units.PercentUnit, minimum=0, steps=((0.8, RED),), width=12,
        ),
        Panel(
            title="Versions",
            why="What is running. Two versions at once belong to a rollout, and to nothing else.",
            queries=(query("intent_build_info"),),
            kind="table", width=12,
        ),
    ),
)  # fmt: skip

OPERATIONS: Final = Board(
    uid="stream-app-operations",
    title="Stream-App: operations",
    description="Is it well, does it keep up, and if not, where does it stick?",
    variables=("partition",),
    rows=(_WELL, _FLOW, _SERVERS, _PROCESSES),
)  # fmt: skip
