"""A parametrised detector: what tracks and calorimeters of a CMS-like experiment would measure of generated particles.

It follows the card `delphes_card_CMS.tcl` of Delphes (de Favereau et al., JHEP 02 (2014) 057), with perfect particle flow:

track        a charged particle of |eta| < 2.5 is found with the probability `TRACK_EFFICIENCY`; its pT gets a relative error σ =
             √(a² + (b pT)²) of `TRACK_RESOLUTION` and a log-normal distribution; its direction is exact
             impact parameters: those of its helix in a field of 3.8 T, with a normal error √(a² + (b / pT)²) of `IMPACT_RESOLUTION`
             at the measured pT
photon       energy in cells of the electromagnetic calorimeter, with the error `ecal_resolution`
neutral      energy in cells of the hadronic calorimeter, with the error `hcal_resolution`; massless
hadron

Charged particles without a track deposit their energy in the calorimeters (electrons in the electromagnetic one, muons in neither) if their
helix reaches them. A cell is read out if its energy exceeds a threshold and its own error; the direction is uniform within the cell.

Differences from the card: a track and the cells behind it never overlap; all neutral hadrons, and none of the charged ones, deposit
everything in the hadronic calorimeter (the card gives 30 % of K0S and Lambda to the other); a cell needs 1 standard deviation of
energy, where the card's 2 would remove all neutral hadrons below 9 GeV; cells of the hadronic calorimeter have two sizes, not five;
the card has no impact parameters: theirs are from CMS, JINST 9 (2014) P10009 (arXiv:1405.6569). No pile-up.

Axes: N particle of all events.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from statecast.particles.jets import PARTICLE_KINDS, wrapped

CHARGED_HADRON, NEUTRAL_HADRON, PHOTON, ELECTRON, MUON = range(len(PARTICLE_KINDS))
PDG_CODES = {11: ELECTRON, 13: MUON, 22: PHOTON}  # every other visible particle is a hadron
PION_MASS_GEV, ELECTRON_MASS_GEV, MUON_MASS_GEV = 0.13957, 0.000511, 0.10566
MASS_GEV = np.array([PION_MASS_GEV, 0.0, 0.0, ELECTRON_MASS_GEV, MUON_MASS_GEV])  # of a measured particle, by kind
FIELD_TESLA = 3.8
CALORIMETER_RADIUS_M = 1.29
TRACK_ETA, BARREL_ETA, CALORIMETER_ETA = 2.5, 1.5, 3.0
TRACK_PT_GEV = 0.1


class Efficiency(NamedTuple):
    """Probability of a track, by pT; each pair is for |eta| up to 1.5 and up to 2.5."""

    below_1_gev: tuple[float, float]
    below_100_gev: tuple[float, float]
    above: tuple[float, float]


TRACK_EFFICIENCY = {
    CHARGED_HADRON: Efficiency((0.70, 0.60), (0.95, 0.85), (0.95, 0.85)),
    ELECTRON: Efficiency((0.73, 0.50), (0.95, 0.83), (0.99, 0.90)),
    MUON: Efficiency((0.75, 0.70), (0.99, 0.98), (0.99, 0.98)),
}
"""Sections *TrackingEfficiency of the card."""
TRACK_RESOLUTION = {
    CHARGED_HADRON: ((0.01, 1.5e-4), (0.015, 2.5e-4), (0.025, 5.5e-4)),
    ELECTRON: ((0.03, 1.3e-3), (0.05, 1.7e-3), (0.15, 3.1e-3)),
    MUON: ((0.01, 1.0e-4), (0.015, 1.5e-4), (0.025, 3.5e-4)),
}
"""a and b [1/GeV] of the relative error of pT, for |eta| up to 0.5, 1.5 and 2.5: sections *MomentumSmearing of the card."""
IMPACT_RESOLUTION = {"d0": (0.0234, 0.0869), "dz": (0.0426, 0.1438)}
"""a [mm] and b [mm GeV]: 0.090 and 0.150 mm at 1 GeV, 0.025 and 0.045 mm at 10 GeV, as in the abstract of arXiv:1405.6569."""


class Cells(NamedTuple):
    """Size of a calorimeter's cells in eta and phi, |eta| above which they are twice as large, and the threshold in energy."""

    eta: float
    phi: float
    doubled_eta: float
    threshold_gev: float


ECAL = Cells(eta=0.0174, phi=np.pi / 180, doubled_eta=np.inf, threshold_gev=0.5)
HCAL = Cells(eta=0.087, phi=np.pi / 36, doubled_eta=1.653, threshold_gev=1.0)
Columns = dict[str, Shaped[np.ndarray, " N"]]


def ecal_resolution(energy: Float[np.ndarray, " N"], eta: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Error of the energy [GeV] in the electromagnetic calorimeter.

    |eta| <= 1.5        (1 + 0.64 eta²) √((0.008 E)² + 0.11² E + 0.40²)
    |eta| <= 2.5        (2.16 + 5.6 (|eta| - 2)²) times the same root
    beyond              √((0.107 E)² + 2.08² E)
    """
    size = np.abs(eta)
    root = np.sqrt((0.008 * energy) ** 2 + 0.11**2 * energy + 0.40**2)
    barrel = (1 + 0.64 * size**2) * root
    endcap = (2.16 + 5.6 * (size - 2) ** 2) * root
    forward = np.sqrt((0.107 * energy) ** 2 + 2.08**2 * energy)
    return np.select([size <= BARREL_ETA, size <= TRACK_ETA], [barrel, endcap], forward)


def hcal_resolution(energy: Float[np.ndarray, " N"], eta: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Error of the energy [GeV] in the hadronic calorimeter, √((0.05 E)² + 1.5² E), for |eta| < 3."""
    return np.sqrt((0.05 * energy) ** 2 + 1.5**2 * energy)


def kinds_of(pdg: Int[np.ndarray, " N"], charge: Float[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """Codes of `PARTICLE_KINDS` of visible stable particles, from the numbering of the Particle Data Group and their charge."""
    kinds = np.where(charge != 0, CHARGED_HADRON, NEUTRAL_HADRON)
    for code, kind in PDG_CODES.items():
        kinds[np.abs(pdg) == code] = kind
    return kinds.astype(np.int8)


def impact_parameters(
    vertex_mm: Float[np.ndarray, "3 N"], particles: Mapping[str, np.ndarray]
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """d0 and dz [mm]: transverse and longitudinal coordinate of a helix where it is nearest to the beam line x = y = 0.

    A charge q > 0 turns clockwise on a circle of radius R = pT / (0.3 B), pT in GeV, B in T, R in m, whose centre is c:

    c = (x + q R sin φ, y - q R cos φ)      d0 = q (R - |c|)      dz = z - L sinh η

    L is the arc from the nearest point to the vertex. In the limit of a straight track d0 = y cos φ - x sin φ and
    L = x cos φ + y sin φ.
    """
    x, y, z = vertex_mm
    phi, sign = particles["phi"], np.sign(particles["charge"])
    radius = 1000 * particles["pt_gev"] / (0.3 * FIELD_TESLA)
    centre_x = x + sign * radius * np.sin(phi)
    centre_y = y - sign * radius * np.cos(phi)
    nearest_phi = np.arctan2(sign * centre_x, -sign * centre_y)
    d0 = sign * (radius - np.hypot(centre_x, centre_y))
    arc = sign * radius * wrapped(nearest_phi - phi)
    return d0, z - arc * np.sinh(particles["eta"])


def measure(
    particles: Mapping[str, np.ndarray], vertex_mm: Float[np.ndarray, "3 N"], random: np.random.Generator
) -> Columns:
    """Measured particles of generated ones: `MOMENTUM`, `kind`, `charge`, `TRACK` and `event`, in order of `event`.

    `particles` has the columns `MOMENTUM`, `kind`, `charge` and `event`, the number of the event, in ascending order.
    """
    charged = particles["charge"] != 0
    found = charged & (random.uniform(size=len(charged)) < track_efficiency(particles))
    tracks = _tracks(_rows(particles, found), vertex_mm[:, found], random)
    deposits = _at_the_calorimeter(_rows(particles, ~found))
    electromagnetic = np.isin(deposits["kind"], (PHOTON, ELECTRON))
    hadronic = np.isin(deposits["kind"], (CHARGED_HADRON, NEUTRAL_HADRON))
    photons = _cells(_rows(deposits, electromagnetic), ECAL, PHOTON, random)
    hadrons = _cells(_rows(deposits, hadronic), HCAL, NEUTRAL_HADRON, random)
    measured = {name: np.concatenate([part[name] for part in (tracks, photons, hadrons)]) for name in hadrons}
    return _rows(measured, np.argsort(measured["event"], kind="stable"))


def track_efficiency(particles: Mapping[str, np.ndarray]) -> Float[np.ndarray, " N"]:
    """Probability that a charged particle leaves a track: `TRACK_EFFICIENCY` within |eta| < 2.5 and above 0.1 GeV, else 0."""
    pt, size = particles["pt_gev"], np.abs(particles["eta"])
    endcap = (size > BARREL_ETA).astype(int)
    probability = np.zeros(len(pt))
    for kind, efficiency in TRACK_EFFICIENCY.items():
        low, middle, high = (np.array(pair)[endcap] for pair in efficiency)
        by_pt = np.select([pt <= 1.0, pt <= 100.0], [low, middle], high)
        probability = np.where(particles["kind"] == kind, by_pt, probability)
    return np.where((pt > TRACK_PT_GEV) & (size <= TRACK_ETA), probability, 0.0)


def track_resolution(particles: Mapping[str, np.ndarray]) -> Float[np.ndarray, " N"]:
    """Relative error of the pT of tracks, √(a² + (b pT)²)."""
    region = np.searchsorted([0.5, BARREL_ETA], np.abs(particles["eta"]))
    relative = np.zeros(len(region))
    for kind, constants in TRACK_RESOLUTION.items():
        a, b = np.array(constants)[region].T
        relative = np.where(particles["kind"] == kind, np.hypot(a, b * particles["pt_gev"]), relative)
    return relative


def log_normal(mean: np.ndarray, error: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Positive numbers with this mean and standard deviation."""
    variance = np.log1p((error / mean) ** 2)
    return mean * np.exp(np.sqrt(variance) * random.standard_normal(len(mean)) - variance / 2)


def _rows(columns: Mapping[str, np.ndarray], chosen: np.ndarray) -> Columns:
    return {name: column[chosen] for name, column in columns.items()}


def _tracks(particles: Columns, vertex_mm: np.ndarray, random: np.random.Generator) -> Columns:
    pt = particles["pt_gev"]
    d0, dz = impact_parameters(vertex_mm, particles)
    measured = log_normal(pt, track_resolution(particles) * pt, random)
    d0_error, dz_error = (np.hypot(a, b / measured) for a, b in IMPACT_RESOLUTION.values())
    return {
        **particles,
        "pt_gev": measured,
        "mass_gev": MASS_GEV[particles["kind"]],
        "d0_mm": d0 + d0_error * random.standard_normal(len(pt)),
        "d0_error_mm": d0_error,
        "dz_mm": dz + dz_error * random.standard_normal(len(pt)),
        "dz_error_mm": dz_error,
    }


def _at_the_calorimeter(particles: Columns) -> Columns:
    """Particles where they enter the calorimeters: charged ones are turned by the field, and those that curl up before are left out.

    After a transverse distance r, the azimuth of the position is φ - q asin(r / 2R), with R as in `impact_parameters`.
    """
    turns = np.sign(particles["charge"]) * CALORIMETER_RADIUS_M * 0.3 * FIELD_TESLA / (2 * particles["pt_gev"])
    reach = (np.abs(turns) < 1) & (np.abs(particles["eta"]) < CALORIMETER_ETA)
    entered = _rows(particles, reach)
    entered["phi"] = wrapped(entered["phi"] - np.arcsin(turns[reach]))
    return entered


def _cells(deposits: Columns, cells: Cells, kind: int, random: np.random.Generator) -> Columns:
    """One particle for each cell that is read out."""
    eta, phi = deposits["eta"], deposits["phi"]
    scale = np.where(np.abs(eta) > cells.doubled_eta, 2, 1)
    row = np.floor(eta / (cells.eta * scale)).astype(int)
    column = np.floor((phi + np.pi) / (cells.phi * scale)).astype(int)
    place = np.stack([deposits["event"], scale, row, column])
    (event, scale, row, column), cell = np.unique(place, axis=1, return_inverse=True)
    energy = np.hypot(deposits["pt_gev"] * np.cosh(eta), deposits["mass_gev"])
    true = np.bincount(cell.ravel(), energy, minlength=len(event))
    within = random.uniform(size=(2, len(event)))
    cell_eta = (row + within[0]) * cells.eta * scale
    cell_phi = wrapped((column + within[1]) * cells.phi * scale - np.pi)
    resolution = ecal_resolution if kind == PHOTON else hcal_resolution
    measured = log_normal(true, resolution(true, cell_eta), random)
    read_out = (measured > cells.threshold_gev) & (measured > resolution(measured, cell_eta))
    no_track = np.full(len(event), np.nan)
    columns = {
        "pt_gev": measured / np.cosh(cell_eta),
        "eta": cell_eta,
        "phi": cell_phi,
        "mass_gev": np.zeros(len(event)),
        "kind": np.full(len(event), kind, np.int8),
        "charge": np.zeros(len(event), np.int8),
        "event": event,
        "d0_mm": no_track,
        "d0_error_mm": no_track,
        "dz_mm": no_track,
        "dz_error_mm": no_track,
    }
    return _rows(columns, read_out)
