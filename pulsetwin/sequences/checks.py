"""Checks that protocols of several sequences share."""

from __future__ import annotations

from pulsetwin.errors import ProtocolError


def check_slices(matrix: tuple[int, ...], slices: int) -> None:
    """Check that there are slices or partitions, not both.

    Raises
    ------
    ProtocolError
        If both are asked for.
    """
    if matrix[2] > 1 and slices > 1:
        raise ProtocolError(f"slices = {slices} with {matrix[2]} partitions: give one of them as 1")


def check_even(matrix: tuple[int, ...]) -> None:
    """Check that the matrix is even along x and y.

    Raises
    ------
    ProtocolError
        If not.
    """
    if matrix[0] % 2 or matrix[1] % 2:
        raise ProtocolError(f"matrix = {matrix}: give even numbers along x and y")


def check_square(fov: tuple[float, float, float], matrix: tuple[int, int, int]) -> None:
    """Check that x and y are alike, and the matrix even there.

    Raises
    ------
    ProtocolError
        If not.
    """
    if fov[0] != fov[1] or matrix[0] != matrix[1]:
        raise ProtocolError(f"fov = {fov}, matrix = {matrix}: give the same numbers along x and y")
    check_even(matrix)


def check_cube(fov: tuple[float, float, float], matrix: tuple[int, int, int]) -> None:
    """Check that all three axes are alike, and the matrix even.

    Raises
    ------
    ProtocolError
        If not.
    """
    check_square(fov, matrix)
    if fov[2] != fov[0] or matrix[2] != matrix[0]:
        raise ProtocolError(f"fov = {fov}, matrix = {matrix}: give a volume the same numbers along x, y and z")
