"""The command that scores forecasts of any system."""

from typing import Annotated, Literal

import typer

from statecast.cli.options import CommandError, Out, Overwrite, Quiet, refuse_given
from statecast.cli.printing import print_tables


def verify(
    forecasts: Annotated[
        list[str],
        typer.Argument(
            metavar="FORECAST...",
            help="Zarr store, NetCDF or GRIB file with initial and lead times, or several; with --merge: outputs of this command.",
        ),
    ],
    *,
    against: Annotated[
        str | None, typer.Option(help="Store of the analyses, whose units, points and names of variables count.")
    ] = None,
    out: Out,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            help="Other forecasts, whose difference is tested on the same initial times; repeat for several stores."
        ),
    ] = None,
    variables: Annotated[
        str | None,
        typer.Option(help="Names in the analyses, separated by commas; NAME=NAME_IN_THE_FORECAST where they differ."),
    ] = None,
    levels: Annotated[str | None, typer.Option(help="Pressure levels in hPa, separated by commas.")] = None,
    lead_times: Annotated[str | None, typer.Option(help="Lead times in hours, separated by commas.")] = None,
    period: Annotated[tuple[str, str] | None, typer.Option(help="First and last initial time, inclusive.")] = None,
    region: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(metavar="SOUTH NORTH WEST EAST", help="The part of the globe that is scored, in degrees."),
    ] = None,
    climatology_period: Annotated[
        tuple[str, str] | None,
        typer.Option(help="Period of the analyses that climatology and ACC refer to; neither of them if not given."),
    ] = None,
    regrid: Annotated[
        Literal["bilinear"] | None,
        typer.Option(help="How forecasts get to the points of the analyses; other points are refused if not given."),
    ] = None,
    absent_chunks: Annotated[
        Literal["missing", "fill_value"] | None,
        typer.Option(help="What chunks stand for that a Zarr store lacks, if it does not say so."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads that score; as many as processors, at most 4, if not given.", min=1)
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Put together outputs of this command on other initial times.")
    ] = False,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Draw a report beside the scores.")] = True,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Score forecasts of any system against analyses, beside persistence and climatology; an interrupted one goes on."""
    from statecast.fields import forecasts as verification

    if merge:
        refuse_given("--merge", {"--against": against, "--beside": beside or None, "--period": period})
        refuse_given("--merge", {"--variables": variables, "--levels": levels, "--lead-times": lead_times})
        refuse_given("--merge", {"--region": region, "--regrid": regrid, "--climatology-period": climatology_period})
        evaluation = verification.merge(forecasts, out, report=report, overwrite=overwrite)
    else:
        if against is None:
            raise CommandError("--against is missing: give the store of the analyses, or --merge.")
        choice = verification.Choice(
            _pairs(variables),
            _numbers(levels, "--levels"),
            _numbers(lead_times, "--lead-times"),
            period,
            region,
            climatology_period,
            regrid,
            absent_chunks,
        )
        evaluation = verification.verify(
            forecasts,
            against,
            out,
            beside=beside or (),
            choice=choice,
            threads=threads,
            report=report,
            overwrite=overwrite,
            progress=not quiet,
        )
    print_tables(evaluation.tables())
    print(f"{evaluation.written.stem}: {evaluation.written}")


def _texts(text: str | None, option: str) -> list[str]:
    parts = [part.strip() for part in (text or "").split(",")] if text is not None else []
    if not all(parts) or len(set(parts)) < len(parts):
        raise CommandError(f"{option} {text}: expected values separated by commas, each once.")
    return parts


def _pairs(text: str | None) -> dict[str, str]:
    """Names in the analyses, each with its name in the forecast."""
    pairs = [part.partition("=") for part in _texts(text, "--variables")]
    return {name: theirs or name for name, _, theirs in pairs}


def _numbers(text: str | None, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in _texts(text, option))
    except ValueError as error:
        raise (
            error
            if isinstance(error, CommandError)
            else CommandError(f"{option} {text}: expected numbers separated by commas.")
        ) from None
