"""The geometries that ship with statecast, in the XML format of the CaloChallenge."""
